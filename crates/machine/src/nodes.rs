//! Block nodes: images with names of their own, from `-blockdev` and QMP's `blockdev-add`.
//!
//! A format lies over a file node, described in place or named. A file node by itself can be used as a raw disk; below
//! a format it is closed, since the format opens the file. Backing files are not nodes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use block::{BlockBackend, BlockConfig, BlockQueue, CacheMode, NullDisk};
use cli::{NodeDriver, NodeRef, NodeSpec};
use vm_core::lock;

use crate::MachineHandle;

/// A node as the monitor shows it.
#[derive(Clone)]
pub struct BlockNode {
    /// Its node name.
    pub name: String,
    /// QEMU's name of its driver.
    pub driver: &'static str,
    /// The image.
    pub file: PathBuf,
    /// Cache mode.
    pub cache: CacheMode,
    /// Writes are refused.
    pub readonly: bool,
    /// Size in bytes.
    pub size: u64,
    /// What a device submits to; `None` for a file below a format.
    pub queue: Option<Arc<BlockQueue>>,
    /// The node that lies over it.
    parent: Option<String>,
    /// It was described in its parent and goes with it.
    inner: bool,
    source: Source,
}

/// What a node's bytes come from.
#[derive(Clone)]
enum Source {
    File(BlockConfig),
    Null(u64),
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
    /// The node that another names is not there.
    #[error("Cannot find device='{0}' nor node-name='{0}'")]
    NoReference(String),
    /// A device has it.
    #[error("Node '{0}' is busy: it is in use by a device")]
    Busy(String),
    /// Another node lies over it.
    #[error("Node '{0}' is busy: node '{1}' lies over it")]
    Below(String, String),
    /// It was described inside another one.
    #[error("Node {0} is not owned by the monitor")]
    Inner(String),
    /// A format over a format, or over nothing that has a header.
    #[error("Node '{0}' cannot be the file of a {1} node")]
    NoFile(String, &'static str),
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

fn cache(spec: &NodeSpec) -> CacheMode {
    match (spec.direct, spec.no_flush) {
        (_, true) => CacheMode::Unsafe,
        (true, false) => CacheMode::None,
        (false, false) => CacheMode::Writeback,
    }
}

impl Source {
    /// The source of a node that lies over no other.
    fn of(spec: &NodeSpec) -> Option<Self> {
        match &spec.driver {
            NodeDriver::Null { size } => Some(Self::Null(*size)),
            NodeDriver::Format { .. } => None,
            NodeDriver::File { filename, locking } => {
                let mut config = BlockConfig::new(filename);
                (config.locking, config.discard, config.cache) = (*locking, spec.discard, cache(spec));
                config.readonly = spec.readonly || spec.auto_readonly && !writable(&config.path);
                config.format = Some(block::Format::Raw);
                Some(Self::File(config))
            }
        }
    }

    fn open(&self, name: &str) -> Result<Arc<BlockQueue>, NodeError> {
        let backend: Arc<dyn BlockBackend> = match self {
            Self::Null(size) => Arc::new(NullDisk::new(*size)),
            Self::File(config) => {
                block::open(config).map_err(|source| NodeError::Open { path: config.path.clone(), source })?
            }
        };
        BlockQueue::new(name, backend).map_err(NodeError::Thread)
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::File(config) => config.path.clone(),
            Self::Null(_) => "null-co://".into(),
        }
    }

    fn cache(&self) -> CacheMode {
        match self {
            Self::File(config) => config.cache,
            Self::Null(_) => CacheMode::default(),
        }
    }
}

fn writable(path: &std::path::Path) -> bool {
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}

impl BlockNode {
    fn new(name: &str, driver: &'static str, source: Source) -> Self {
        let (file, cache) = (source.file(), source.cache());
        let readonly = matches!(&source, Source::File(c) if c.readonly);
        let (name, size) = (name.to_owned(), 0);
        Self { name, driver, file, cache, readonly, size, queue: None, parent: None, inner: false, source }
    }

    fn open(mut self) -> Result<Self, NodeError> {
        let queue = self.source.open(&self.name)?;
        (self.size, self.readonly) = (queue.backend().size(), queue.backend().readonly());
        self.queue = Some(queue);
        Ok(self)
    }

    fn is_used(&self) -> bool {
        self.queue.as_ref().is_some_and(|q| Arc::strong_count(q) > 1)
    }
}

/// What the format `format` over `below` opens.
fn over(spec: &NodeSpec, format: &'static str, below: &BlockNode) -> Result<Source, NodeError> {
    match (&below.source, format) {
        (Source::Null(size), "raw") => Ok(Source::Null(*size)),
        (Source::File(file), _) if below.driver == "file" => {
            let mut config = file.clone();
            config.format = format.parse().ok();
            config.discard |= spec.discard;
            config.readonly |= spec.readonly || spec.auto_readonly && !writable(&config.path);
            if cache(spec) != CacheMode::Writeback {
                config.cache = cache(spec);
            }
            Ok(Source::File(config))
        }
        _ => Err(NodeError::NoFile(below.name.clone(), format)),
    }
}

impl BlockNodes {
    /// Opens the nodes of the command line, in order.
    pub(crate) fn open(specs: &[NodeSpec]) -> Result<Self, NodeError> {
        let nodes = Self::default();
        specs.iter().try_for_each(|spec| nodes.add(spec, |_| false))?;
        Ok(nodes)
    }

    pub(crate) fn queues(&self) -> Vec<Arc<BlockQueue>> {
        lock(&self.0).iter().filter_map(|n| n.queue.clone()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<BlockNode> {
        lock(&self.0).iter().find(|n| n.name == name).cloned()
    }

    /// The queue of a node for a device that will be its only user.
    pub(crate) fn take(&self, name: &str) -> Result<(CacheMode, Arc<BlockQueue>), NodeError> {
        let nodes = lock(&self.0);
        let node = nodes.iter().find(|n| n.name == name).ok_or_else(|| NodeError::NotFound(name.into()))?;
        let parent = || NodeError::Below(name.into(), node.parent.clone().unwrap_or_default());
        let queue = node.queue.as_ref().ok_or_else(parent)?;
        if node.is_used() {
            return Err(NodeError::Busy(name.into()));
        }
        Ok((node.cache, queue.clone()))
    }

    fn add(&self, spec: &NodeSpec, taken: impl Fn(&str) -> bool) -> Result<(), NodeError> {
        let mut nodes = lock(&self.0);
        let name = spec.name.clone().unwrap_or_default();
        let is_free = |nodes: &[BlockNode], name: &str| match nodes.iter().any(|n| n.name == name) || taken(name) {
            true => Err(NodeError::Duplicate(name.into())),
            false => Ok(()),
        };
        is_free(&nodes, &name)?;
        let NodeDriver::Format { format, file } = &spec.driver else {
            if let Some(source) = Source::of(spec) {
                nodes.push(BlockNode::new(&name, spec.driver.name(), source).open()?);
            }
            return Ok(());
        };
        match &**file {
            NodeRef::Name(below) => {
                let found = nodes.iter().position(|n| n.name == *below);
                let at = found.ok_or_else(|| NodeError::NoReference(below.clone()))?;
                let Some(child) = nodes.get_mut(at) else { return Ok(()) };
                if let Some(parent) = &child.parent {
                    return Err(NodeError::Below(below.clone(), parent.clone()));
                }
                if child.is_used() {
                    return Err(NodeError::Busy(below.clone()));
                }
                let source = over(spec, format, child)?;
                child.queue = None; // and with it the file's lock
                match BlockNode::new(&name, format, source).open() {
                    Ok(node) => {
                        child.parent = Some(name);
                        nodes.push(node);
                    }
                    Err(error) => {
                        child.queue = child.source.open(&child.name).ok();
                        return Err(error);
                    }
                }
            }
            NodeRef::Node(below) => {
                let inner = below.name.clone().unwrap_or_else(|| format!("#{name}-file"));
                if inner == name {
                    return Err(NodeError::Duplicate(name));
                }
                is_free(&nodes, &inner)?;
                let source = Source::of(below).ok_or_else(|| NodeError::NoFile(inner.clone(), format))?;
                let mut child = BlockNode::new(&inner, below.driver.name(), source);
                let node = BlockNode::new(&name, format, over(spec, format, &child)?).open()?;
                (child.parent, child.inner, child.size) = (Some(name), true, node.size);
                nodes.extend([node, child]);
            }
        }
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), NodeError> {
        let mut nodes = lock(&self.0);
        let at = nodes.iter().position(|n| n.name == name).ok_or_else(|| NodeError::NotFound(name.into()))?;
        match nodes.get(at) {
            Some(n) if n.inner => return Err(NodeError::Inner(name.into())),
            Some(BlockNode { parent: Some(parent), .. }) => return Err(NodeError::Below(name.into(), parent.clone())),
            Some(n) if n.is_used() => return Err(NodeError::Busy(name.into())),
            _ => {}
        }
        let node = nodes.remove(at);
        nodes.retain(|n| !(n.inner && n.parent.as_deref() == Some(name)));
        drop(node); // waits for its worker, and lets go of the file
        if let Some(child) = nodes.iter_mut().find(|n| n.parent.as_deref() == Some(name)) {
            child.parent = None;
            child.queue = child.source.open(&child.name).inspect_err(|e| tracing::warn!("{e}")).ok();
        }
        Ok(())
    }
}

impl MachineHandle {
    /// Adds a node.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is changed then.
    pub fn add_node(&self, spec: &NodeSpec) -> Result<(), NodeError> {
        self.nodes().add(spec, |name| self.drives().iter().any(|d| d.node_name() == name))
    }

    /// Closes a node that neither a device nor another node has.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn delete_node(&self, name: &str) -> Result<(), NodeError> {
        self.nodes().delete(name)
    }

    /// The queue of the node called `name`, for a device that will be its only user, and its cache mode.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn take_node(&self, name: &str) -> Result<(CacheMode, Arc<BlockQueue>), NodeError> {
        self.nodes().take(name)
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// [`NodeError::NotFound`].
    pub fn node(&self, name: &str) -> Result<BlockNode, NodeError> {
        self.nodes().get(name).ok_or_else(|| NodeError::NotFound(name.into()))
    }

    /// Every node that was added.
    pub fn added_nodes(&self) -> Vec<BlockNode> {
        lock(&self.nodes().0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(nodes: &BlockNodes, text: &str) -> Result<(), String> {
        nodes.add(&NodeSpec::parse(text).unwrap(), |n| n == "taken").map_err(|e| e.to_string())
    }

    #[test]
    fn nodes_lie_over_each_other_and_come_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.img");
        std::fs::write(&file, [0x55; 4096]).unwrap();
        let (nodes, file) = (BlockNodes::default(), file.display());
        add(&nodes, &format!("driver=file,node-name=f,filename={file}")).unwrap();
        assert!(add(&nodes, "driver=null-co,node-name=f").unwrap_err().contains("Duplicate"));
        assert!(add(&nodes, "driver=null-co,node-name=taken").unwrap_err().contains("Duplicate"));
        assert!(add(&nodes, "driver=raw,node-name=r,file=g").unwrap_err().contains("device='g'"));
        assert!(add(&nodes, "driver=qcow2,node-name=q,file=f").is_err(), "no header");
        assert!(nodes.get("f").unwrap().queue.is_some(), "as it was");
        add(&nodes, "driver=raw,node-name=r,file=f,read-only=on").unwrap();
        let raw = nodes.get("r").unwrap();
        assert_eq!((raw.size, raw.readonly, raw.driver), (4096, true, "raw"));
        drop(raw);
        assert!(nodes.get("f").unwrap().queue.is_none());
        assert!(nodes.take("f").is_err());
        assert!(nodes.delete("f").unwrap_err().to_string().contains("lies over"));
        let (_, queue) = nodes.take("r").unwrap();
        assert!(matches!(nodes.take("r"), Err(NodeError::Busy(_))));
        assert!(matches!(nodes.delete("r"), Err(NodeError::Busy(_))));
        drop(queue);
        nodes.delete("r").unwrap();
        assert!(nodes.get("f").unwrap().queue.is_some(), "a disk by itself again");
        nodes.delete("f").unwrap();
        let inner = format!("driver=raw,node-name=r,file.driver=file,file.node-name=i,file.filename={file}");
        add(&nodes, &inner).unwrap();
        assert!(matches!(nodes.delete("i"), Err(NodeError::Inner(_))));
        nodes.delete("r").unwrap();
        assert!(nodes.get("i").is_none());
        add(&nodes, "driver=null-co,node-name=n,size=1048576").unwrap();
        add(&nodes, "driver=raw,node-name=m,file=n").unwrap();
        let (_, queue) = nodes.take("m").unwrap();
        let mut bytes = [1; 512];
        queue.backend().write_at(0, &bytes).unwrap();
        queue.backend().read_at(0, &mut bytes).unwrap();
        assert_eq!((bytes, queue.backend().size()), ([0; 512], 1 << 20));
    }
}
