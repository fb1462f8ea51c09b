//! `linux.resources.network`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#network)): version 1 only, since
//! packets of a version 2 group are classified by filters that match the group itself.

use serde::{Deserialize, Serialize};

use super::write::{Field, Writes};
use crate::controller::{Controller, Homes, Version};

/// Network class and priorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Network {
    /// Class of the packets for tc(8); 0 asks for nothing.
    #[serde(rename = "classID")]
    pub class_id: Option<u32>,
    /// Priority on each interface.
    pub priorities: Option<Vec<Priority>>,
}

/// The priority of traffic on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Priority {
    /// The interface, in the runtime's network namespace.
    pub name: String,
    /// The priority.
    pub priority: u32,
}

const CANNOT: &str = "version 1 only; control groups version 2 have no network controllers";

impl Network {
    pub(super) fn convert(&self, out: &mut Writes) {
        if let Some(class) = self.class_id.filter(|class| *class != 0) {
            let field = Field::file("net_cls.classid", class);
            convert_v1(Controller::NetCls, "linux.resources.network.classID".to_owned(), field, out);
        }
        for (index, Priority { name, priority }) in self.priorities.iter().flatten().enumerate() {
            let key = format!("linux.resources.network.priorities[{index}]");
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
                out.invalid(format!("{key}.name"), format!("{name:?} is not the name of an interface"));
                continue;
            }
            let field = Field::file("net_prio.ifpriomap", format!("{name} {priority}"));
            convert_v1(Controller::NetPrio, key, field, out);
        }
    }
}

fn convert_v1(controller: Controller, key: String, field: Field, out: &mut Writes) {
    let Homes { v2: Some(_), .. } = out.homes() else { return out.field(controller, key, |_| field) };
    match out.homes().of(controller) {
        Some(Version::V1) => out.field(controller, key, |_| field),
        _ => out.cannot(key, CANNOT),
    }
}
