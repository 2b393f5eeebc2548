//! `megaconn top`: running servers and clients, looked at again and again through their metrics
//! addresses. [`rows`] is what a core did between two looks, [`state`] all that is known, [`render`]
//! the screen that is made of it; all three are plain functions of what they are given. [`run`] alone
//! touches the network, the clock and the terminal.

pub mod form;
pub mod help;
pub mod render;
pub mod rows;
pub mod run;
pub mod spark;
pub mod state;
pub mod steer;
