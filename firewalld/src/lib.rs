//! fw
