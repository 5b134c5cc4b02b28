//! Ports: the A-stack and the doorbell, under the loops that `client.rs` and `server.rs` run over them.
//!
//! Sockets do not exist under loom, so clients are introduced beforehand; the loops here are theirs without that.
