//! Words by which users are found: of names and ids, one row a word, user and room. A hint: it may outlive what it says.
use crate::storage::Table;

pub struct UserTerms;

impl Table for UserTerms {
    const ID: u8 = 70;
    /// The word in lower case, the user id, and the short number of the room that shows the name; 0 for an account here.
    type Key = (String, String, u64);
    type Row = ();
}
