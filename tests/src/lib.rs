//! The lab: a hotspot on this machine made of rootless network namespaces, and the end-to-end flows.
