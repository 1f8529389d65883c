//! Images that `blockdev-add` opened and that no device has yet, or that a device was given by their node name.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use block::{BlockConfig, BlockQueue, CacheMode};
use vm_core::lock;

use crate::MachineHandle;

/// An opened image with a name of its own.
#[derive(Clone)]
pub struct BlockNode {
    /// Its node name.
    pub name: String,
    /// The image.
    pub file: PathBuf,
    /// Cache mode.
    pub cache: CacheMode,
    /// What a device submits to.
    pub queue: Arc<BlockQueue>,
}

/// Why a node was not added or deleted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named in the messages
pub enum NodeError {
    /// The name is taken.
    #[error("Duplicate nodes with node-name='{0}'")]
    Duplicate(String),
    /// No node has that name.
    #[error("Failed to find node with node-name='{0}'")]
    NotFound(String),
    /// A device has it.
    #[error("Node '{0}' is busy: it is in use by a device")]
    Busy(String),
    /// The image cannot be opened.
    #[error("Could not open '{}': {source}", path.display())]
    Open { path: PathBuf, source: block::BlockError },
    /// The host has no thread for it.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// The nodes of a machine.
#[derive(Default)]
pub(crate) struct BlockNodes(Mutex<Vec<BlockNode>>);

impl BlockNodes {
    pub(crate) fn queues(&self) -> Vec<Arc<BlockQueue>> {
        lock(&self.0).iter().map(|n| n.queue.clone()).collect()
    }
}

impl MachineHandle {
    /// Opens an image under the node name `name`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn add_node(&self, name: &str, config: &BlockConfig) -> Result<(), NodeError> {
        let mut nodes = lock(&self.nodes().0);
        let drive = |n: &str| self.drives().iter().any(|d| d.node_name() == n);
        if nodes.iter().any(|n| n.name == name) || drive(name) {
            return Err(NodeError::Duplicate(name.into()));
        }
        let backend = block::open(config).map_err(|source| NodeError::Open { path: config.path.clone(), source })?;
        let queue = BlockQueue::new(name, backend).map_err(NodeError::Thread)?;
        nodes.push(BlockNode { name: name.into(), file: config.path.clone(), cache: config.cache, queue });
        Ok(())
    }

    /// Closes a node that no device has.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn delete_node(&self, name: &str) -> Result<(), NodeError> {
        let mut nodes = lock(&self.nodes().0);
        let at = nodes.iter().position(|n| n.name == name).ok_or_else(|| NodeError::NotFound(name.into()))?;
        if nodes.get(at).is_some_and(|n| Arc::strong_count(&n.queue) > 1) {
            return Err(NodeError::Busy(name.into()));
        }
        let node = nodes.remove(at);
        drop(nodes);
        drop(node); // waits for its worker
        Ok(())
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// [`NodeError::NotFound`].
    pub fn node(&self, name: &str) -> Result<BlockNode, NodeError> {
        let nodes = lock(&self.nodes().0);
        nodes.iter().find(|n| n.name == name).cloned().ok_or_else(|| NodeError::NotFound(name.into()))
    }

    /// Every node that was added.
    pub fn added_nodes(&self) -> Vec<BlockNode> {
        lock(&self.nodes().0).clone()
    }
}
