//! PCI configuration space, functions, BARs, INTx and host bridges.
