//! `linux.netDevices`: interfaces move in with their addresses, all or none. Each test has a network namespace of its own
//! in the place of the host's.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::Ran;
use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        an_interface_moves_with_its_addresses_and_is_up,
        the_name_inside_may_be_another,
        a_template_gets_the_next_free_number,
        without_a_change_of_name_it_keeps_the_name,
        several_interfaces_move_in_one_go,
        a_missing_interface_is_named_and_none_moves,
        a_taken_name_is_an_error_and_none_moves,
        an_interface_that_cannot_move_is_an_error,
        a_create_that_fails_later_gives_them_back,
        an_interface_moves_into_a_user_namespace,
    ])
}

/// A network namespace that plays the host, for as long as the value lives.
struct Host {
    name: String,
}

impl Host {
    fn new(world: &World) -> Result<Self, harness::Skipped> {
        let name = format!(
            "it-{}",
            world.path("").bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        );
        if !Command::new("ip").args(["netns", "add", &name]).status().is_ok_and(|status| status.success()) {
            return skip("no ip(8) that can make network namespaces");
        }
        Ok(Self { name })
    }

    /// Runs `ip` in the namespace; it must succeed.
    #[track_caller]
    fn ip(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let ran = Command::new("ip").args(["-n", &self.name]).args(&words).output().expect("ip");
        assert!(ran.status.success(), "ip {line}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    /// An interface with what `ip -j addr` says of it; `None` if there is none.
    fn interface(&self, name: &str) -> Option<Value> {
        let all: Value = serde_json::from_str(&self.ip("-j addr show")).unwrap();
        all.as_array().unwrap().iter().find(|link| link["ifname"] == name).cloned()
    }

    fn add(&self, name: &str, addresses: &[&str]) {
        self.ip(&format!("link add {name} type veth peer name peer-{name}"));
        self.ip(&format!("link set peer-{name} up"));
        for address in addresses {
            self.ip(&format!("addr add {address} dev {name}"));
        }
        self.ip(&format!("link set {name} up"));
    }

    /// Runs the runtime in the namespace.
    fn orlop(&self, world: &World, arguments: &[&str]) -> Ran {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .arg(std::env::var_os("ORLOP").unwrap_or_else(|| integration_tests::world::runtime().into()));
        command.arg("--root").arg(&world.root).args(arguments);
        world.finish(&mut command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A container that stays, and whose network namespace has what `ip` needs to look into it.
struct Inside {
    pid: i32,
}

impl Inside {
    fn new(world: &World, host: &Host, bundle: &Bundle) -> Self {
        let id = world.id();
        host.orlop(world, &["create", "--bundle", bundle.path(), &id]).ok();
        host.orlop(world, &["start", &id]).ok();
        Self { pid: world.pid(&id) }
    }

    fn interface(&self, name: &str) -> Option<Value> {
        let ran = Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "-n", "ip", "-j", "addr", "show"])
            .output()
            .expect("nsenter");
        let all: Value = serde_json::from_slice(&ran.stdout).unwrap();
        all.as_array().unwrap().iter().find(|link| link["ifname"] == name).cloned()
    }
}

fn with_devices(world: &World, devices: Value) -> Bundle {
    world.bundle().args(&["/bin/sleep", "1000"]).edit(|config| config["linux"]["netDevices"] = devices)
}

/// The global addresses of an interface: address, prefix and label.
fn addresses(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().unwrap().iter().filter(|address| address["scope"] == "global");
    all.map(|address| {
        let label = address["label"].as_str().unwrap_or("-");
        format!("{}/{} {label}", address["local"].as_str().unwrap(), address["prefixlen"])
    })
    .collect()
}

fn is_up(link: &Value) -> bool {
    link["flags"].as_array().unwrap().iter().any(|flag| flag == "UP")
}

fn an_interface_moves_with_its_addresses_and_is_up(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24", "10.9.0.2/24", "fd00:9::1/64", "169.254.7.7/16"]);
    host.ip("addr add 10.8.0.1/24 dev d0 scope link");
    host.ip("addr add 10.7.0.1/24 dev d0 valid_lft 1000 preferred_lft 1000");
    host.ip("link set d0 mtu 1400");
    let mac = host.interface("d0").unwrap()["address"].clone();
    let inside = Inside::new(world, &host, &with_devices(world, json!({"d0": {}})));
    let link = inside.interface("d0").expect("the interface inside");
    assert!(is_up(&link), "{link}");
    assert_eq!(addresses(&link), ["10.9.0.1/24 d0", "169.254.7.7/16 d0", "10.9.0.2/24 d0", "fd00:9::1/64 -"]);
    assert_eq!((&link["address"], &link["mtu"]), (&mac, &json!(1400)));
    assert!(host.interface("d0").is_none());
    Ok(())
}

fn the_name_inside_may_be_another(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &[]);
    host.ip("addr add 10.9.0.1/24 dev d0 label d0:x");
    let inside = Inside::new(world, &host, &with_devices(world, json!({"d0": {"name": "ctr0"}})));
    let link = inside.interface("ctr0").expect("the interface inside");
    assert_eq!(addresses(&link), ["10.9.0.1/24 ctr0:x"]);
    assert!(inside.interface("d0").is_none());
    Ok(())
}

fn a_template_gets_the_next_free_number(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24"]);
    host.add("d1", &["10.9.1.1/24"]);
    let devices = json!({"d0": {"name": "net%d"}, "d1": {"name": "net%d"}});
    let inside = Inside::new(world, &host, &with_devices(world, devices));
    assert_eq!(addresses(&inside.interface("net0").unwrap()), ["10.9.0.1/24 net0"]);
    assert_eq!(addresses(&inside.interface("net1").unwrap()), ["10.9.1.1/24 net1"]);
    Ok(())
}

fn without_a_change_of_name_it_keeps_the_name(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.ip("link add v0 type veth peer name v1");
    host.ip("link set v1 up");
    let inside = Inside::new(world, &host, &with_devices(world, json!({"v0": {"name": ""}})));
    assert!(is_up(&inside.interface("v0").unwrap()));
    assert!(host.interface("v1").is_some());
    Ok(())
}

fn several_interfaces_move_in_one_go(world: &World) -> Outcome {
    let host = Host::new(world)?;
    let mut devices = json!({});
    for number in 0..5 {
        host.add(&format!("d{number}"), &[&format!("10.9.{number}.1/24")]);
        devices[format!("d{number}")] = json!({"name": format!("d{}", (number + 1) % 5)});
    }
    let inside = Inside::new(world, &host, &with_devices(world, devices));
    for number in 0..5 {
        let link = inside.interface(&format!("d{}", (number + 1) % 5)).unwrap();
        assert_eq!(link["addr_info"][0]["local"], format!("10.9.{number}.1"));
    }
    Ok(())
}

/// create must fail; `d0` must be as it was.
#[track_caller]
fn fails_and_nothing_moves(world: &World, host: &Host, bundle: &Bundle) -> Ran {
    let ignored = ["ifindex", "link_index", "stable-privacy", "valid_life_time", "preferred_life_time"];
    let seen = || {
        let mut link = host.interface("d0").expect("d0 on the host");
        ignored.iter().for_each(|key| drop(link.as_object_mut().unwrap().remove(*key)));
        (addresses(&link), link["flags"].clone(), link["address"].clone())
    };
    let before = seen();
    let id = world.id();
    let ran = host.orlop(world, &["create", "--bundle", bundle.path(), &id]).fails();
    assert_eq!(seen(), before, "{ran}");
    world.orlop(&["state", &id]).fails();
    ran
}

fn a_missing_interface_is_named_and_none_moves(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24", "fd00:9::1/64"]);
    let bundle = with_devices(world, json!({"d0": {"name": "x"}, "nope": {}}));
    fails_and_nothing_moves(world, &host, &bundle).says("linux.netDevices").says("nope").says("ENODEV");
    Ok(())
}

fn a_taken_name_is_an_error_and_none_moves(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24"]);
    host.add("d1", &[]);
    let bundle = with_devices(world, json!({"d0": {}, "d1": {"name": "lo"}}));
    fails_and_nothing_moves(world, &host, &bundle)
        .says("has an interface")
        .says("lo")
        .says("EEXIST")
        .says("%d");
    Ok(())
}

fn an_interface_that_cannot_move_is_an_error(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24"]);
    let bundle = with_devices(world, json!({"d0": {}, "lo": {"name": "lo1"}}));
    fails_and_nothing_moves(world, &host, &bundle).says("move network interface lo").says("EINVAL");
    Ok(())
}

fn a_create_that_fails_later_gives_them_back(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24", "10.9.0.2/24", "fd00:9::1/64"]);
    let bundle = with_devices(world, json!({"d0": {"name": "eth0"}})).args(&["/no/such/program"]);
    fails_and_nothing_moves(world, &host, &bundle).says("/no/such/program");
    Ok(())
}

fn an_interface_moves_into_a_user_namespace(world: &World) -> Outcome {
    let host = Host::new(world)?;
    host.add("d0", &["10.9.0.1/24"]);
    let bundle = with_devices(world, json!({"d0": {"name": "eth0"}})).with_user_namespace(100_000, 65_536);
    let inside = Inside::new(world, &host, &bundle);
    assert_eq!(addresses(&inside.interface("eth0").unwrap()), ["10.9.0.1/24 eth0"]);
    Ok(())
}
