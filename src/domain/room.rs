//! What a room is made of: which events enter it, what its state is, who may see it.
pub mod admit;
pub mod destinations;
pub mod extremities;
pub mod policy;
pub mod power;
pub mod preset;
pub mod resolve;
pub mod space;
pub mod successor;
pub mod summary;
pub mod visibility;
