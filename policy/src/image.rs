//! The content of a compiled policy.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{CategoryInfo, Group, ListInfo};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) generation: u64,
    pub(crate) groups: Vec<Group>,
    pub(crate) categories: Vec<CategoryInfo>,
    pub(crate) lists: Vec<ListInfo>,
    pub(crate) names: HashMap<String, u16>,
}
