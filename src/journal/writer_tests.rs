//! What only shows from inside: a full disk, a group undone.

use super::*;
