//! The firewall's rules as a value, and the guard that holds them in the kernel.
