//! How much of anything that comes from outside is taken: the one table of limits, each with its figure.
//!
//! Whatever a server, a file name, a writer of the folder or a reader of the log decides has a limit here: a size, a count, a
//! rate or a deadline. Without one, a single answer can take all memory, a single name all of the journal's disk, and a
//! single stalled connection all of the program's time.

// --- Answers of the service -------------------------------------------------------------------------------------------

// --- Files and folders ------------------------------------------------------------------------------------------------

// --- The journal ------------------------------------------------------------------------------------------------------

// --- Logs and health --------------------------------------------------------------------------------------------------
