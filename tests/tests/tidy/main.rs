//! Tidiness that a compiler does not see: who imports whom, how long files and functions are, where `unsafe` stands,
//! that every setting and every command is somebody's business. Reads our sources as tokens; starts nothing.

mod rooms;
mod shape;
mod source;
mod tables;
