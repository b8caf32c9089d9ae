//! The real program, started on a free port of this machine, seen from outside.
#[path = "it/gateway.rs"]
mod gateway;
#[path = "it/gateway_flood.rs"]
mod gateway_flood;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/node.rs"]
mod node;
#[path = "it/node_door.rs"]
mod node_door;
#[path = "it/node_federation.rs"]
mod node_federation;
#[path = "it/node_https.rs"]
mod node_https;
#[path = "it/node_push.rs"]
mod node_push;
#[path = "it/node_survival.rs"]
mod node_survival;
#[path = "it/page.rs"]
mod page;
#[path = "it/relay.rs"]
mod relay;
#[path = "it/start_and_stop.rs"]
mod start_and_stop;
#[path = "it/tabs.rs"]
mod tabs;
#[path = "it/warren.rs"]
mod warren;
