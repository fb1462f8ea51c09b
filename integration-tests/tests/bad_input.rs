//! Bad input: every row of what a runtime must refuse, and how it says so. Nothing here may panic, hang or leave a trace.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::Ran;
use integration_tests::{Bundle, Outcome, Report, World, cases, harness};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        trailing_text_is_refused,
        a_duplicate_key_is_refused,
        a_key_in_other_letters_is_unknown,
        unknown_keys_are_ignored,
        a_thousand_nested_unknown_arrays_are_fine,
        deep_nesting_is_refused_with_its_reason,
        a_hundred_megabytes_end_soon,
        a_hundred_thousand_variables_end_soon,
        a_byte_order_mark_is_refused_by_name,
        a_lone_surrogate_is_refused,
        invalid_utf8_is_refused,
        text_that_is_no_configuration_is_refused,
        nul_in_a_string_is_refused,
        variables_without_a_name_or_equals_sign_are_refused,
        empty_arguments_are_refused,
        missing_process_is_an_error_at_start_only,
        ids_beyond_the_last_are_refused,
        ids_of_another_type_are_refused,
        a_bad_working_directory_is_refused,
        another_major_version_is_refused,
        an_apparmor_profile_without_apparmor_is_refused,
        an_selinux_label_without_selinux_is_refused,
        intel_rdt_without_resctrl_is_refused,
        a_network_device_that_is_absent_is_refused,
        wrong_types_are_refused_with_their_pointer,
        validate_lists_five_mistakes_with_their_pointers,
        validate_accepts_a_good_bundle,
        a_configuration_that_is_no_file_is_refused_at_once,
    ])
}

/// A configuration changed as text that must be refused.
#[track_caller]
fn refused_text(world: &World, change: impl FnOnce(String) -> Vec<u8>) -> Ran {
    let ran = world.refused(&world.bundle().edit_text(change));
    assert!(ran.took.as_secs() < 10, "{ran}");
    ran
}

#[track_caller]
fn refused_edit(world: &World, change: impl FnOnce(&mut Value)) -> Ran {
    world.refused(&world.bundle().edit(change))
}

/// Puts text after the opening brace of the configuration.
fn with_member(text: &str, member: &str) -> Vec<u8> {
    format!("{{{member},{}", text.trim_start().trim_start_matches('{')).into_bytes()
}

fn trailing_text_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_text(world, |text| format!("{text} x").into_bytes());
    refused_text(world, |text| format!("{text}{text}").into_bytes());
    refused_text(world, |text| format!("{text}\0").into_bytes());
    Ok(())
}

fn a_duplicate_key_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_text(world, |text| with_member(&text, "\"hostname\":\"other\"")).says("hostname");
    refused_text(world, |text| text.replacen("\"cwd\":", "\"cwd\":\"/tmp\",\"cwd\":", 1).into_bytes())
        .says("cwd");
    Ok(())
}

fn a_key_in_other_letters_is_unknown(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().edit(|config| {
        config["HostName"] = json!("other");
        config["Process"] = json!({"args": ["/bin/false"]});
    });
    assert_eq!(world.probe(&bundle)["hostname"], "it");
    Ok(())
}

fn unknown_keys_are_ignored(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["future"] = json!({"a": [1, null, {"b": 1.5e300}]});
        config["process"]["future"] = json!(true);
        config["linux"]["resources"]["future"] = json!([]);
        config["mounts"][0]["future"] = json!("x");
        config["windows"] = json!({"layerFolders": []});
    });
    world.probe(&bundle);
    Ok(())
}

fn nested(depth: usize) -> String {
    format!("\"future\":{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn a_thousand_nested_unknown_arrays_are_fine(world: &World) -> Outcome {
    world.only_orlop()?;
    world.probe(&world.bundle().edit_text(|text| with_member(&text, &nested(1000))));
    Ok(())
}

fn deep_nesting_is_refused_with_its_reason(world: &World) -> Outcome {
    world.only_orlop()?;
    for depth in [100_000, 4_000_000] {
        refused_text(world, |text| with_member(&text, &nested(depth))).says_any(&[
            "deep",
            "nest",
            "depth",
            "recursion",
        ]);
    }
    Ok(())
}

fn a_hundred_megabytes_end_soon(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().args(&["/bin/true"]).edit_text(|text| {
        with_member(&text, &format!("\"annotations\":{{\"long\":\"{}\"}}", "x".repeat(100 << 20)))
    });
    let ran = world.run(&bundle);
    assert!(ran.signal.is_none() && ran.took.as_secs() < 5, "{ran}");
    Ok(())
}

fn a_hundred_thousand_variables_end_soon(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]).edit(|config| {
        config["process"]["env"] = (0..100_000).map(|number| format!("VARIABLE_{number}=x")).collect();
    });
    let ran = world.run(&bundle);
    assert!(ran.signal.is_none() && ran.took.as_secs() < 10, "{ran}");
    Ok(())
}

fn a_byte_order_mark_is_refused_by_name(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_text(world, |text| format!("\u{feff}{text}").into_bytes()).says_any(&["BOM", "byte order mark"]);
    Ok(())
}

fn a_lone_surrogate_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_text(world, |text| {
        text.replacen("\"hostname\":\"it\"", "\"hostname\":\"\\ud800\"", 1).into_bytes()
    });
    Ok(())
}

fn invalid_utf8_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_text(world, |text| {
        let mut bytes = text.into_bytes();
        let place = bytes.windows(4).position(|window| window == b"\"it\"").unwrap();
        bytes[place + 1] = 0xff;
        bytes
    });
    Ok(())
}

fn text_that_is_no_configuration_is_refused(world: &World) -> Outcome {
    for text in ["", "null", "[]", "{}", "\"text\"", "42", "{", "{\"ociVersion\":", "true"] {
        refused_text(world, |_| text.as_bytes().to_vec());
    }
    Ok(())
}

fn nul_in_a_string_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let places: [(&str, Value); 9] = [
        ("/process/args", json!(["/bin/probe", "a\u{0}b"])),
        ("/process/env", json!(["A=a\u{0}b"])),
        ("/process/cwd", json!("/\u{0}")),
        ("/hostname", json!("a\u{0}b")),
        ("/root/path", json!("root\u{0}fs")),
        ("/mounts/0/destination", json!("/proc\u{0}")),
        ("/mounts/0/source", json!("proc\u{0}")),
        ("/mounts/1/options", json!(["mode=755\u{0}"])),
        ("/linux/maskedPaths", json!(["/proc/acpi\u{0}"])),
    ];
    for (pointer, value) in places {
        refused_edit(world, |config| *config.pointer_mut(pointer).unwrap() = value).says_any(&[
            "NUL",
            "null byte",
            "\\0",
        ]);
    }
    Ok(())
}

fn variables_without_a_name_or_equals_sign_are_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    for variable in ["NOEQUALS", "=value", ""] {
        refused_edit(world, |config| config["process"]["env"] = json!(["A=1", variable]))
            .says("process.env[1]");
    }
    Ok(())
}

fn empty_arguments_are_refused(world: &World) -> Outcome {
    refused_edit(world, |config| config["process"]["args"] = json!([]));
    refused_edit(world, |config| drop(config["process"].as_object_mut().unwrap().remove("args")));
    world.only_orlop()?;
    refused_edit(world, |config| config["process"]["args"] = json!([""])).says("process.args");
    Ok(())
}

/// The specification lets `process` be absent until start.
fn missing_process_is_an_error_at_start_only(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().edit(|config| drop(config.as_object_mut().unwrap().remove("process")));
    let id = world.id();
    let created = world.orlop(&["create", "--bundle", bundle.path(), &id]);
    if created.code == Some(0) {
        world.orlop(&["start", &id]).fails().says("process");
    } else {
        created.fails().says("process");
    }
    Ok(())
}

/// (uid_t) -1 means "unchanged" to the kernel; an id must be exact or refused, and never become 0.
fn ids_beyond_the_last_are_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    for id in [json!(4_294_967_295_u64), json!(4_294_967_296_u64), json!(-1), json!(1e300), json!(1.5)] {
        refused_edit(world, |config| config["process"]["user"]["uid"] = id.clone()).says("uid");
        refused_edit(world, |config| config["process"]["user"]["gid"] = id.clone()).says("gid");
        refused_edit(world, |config| config["process"]["user"]["additionalGids"] = json!([1, id]))
            .says("additionalGids");
    }
    for id in [2_147_483_647_u32, 2_147_483_648, 4_294_967_294] {
        let bundle = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": id, "gid": id}));
        let report = world.probe(&bundle);
        assert_eq!((report.ids("Uid"), report.ids("Gid")), (vec![id; 4], vec![id; 4]));
    }
    Ok(())
}

fn ids_of_another_type_are_refused(world: &World) -> Outcome {
    for id in [json!("0"), json!([0]), json!({}), json!(true)] {
        refused_edit(world, |config| config["process"]["user"]["uid"] = id.clone());
    }
    Ok(())
}

fn a_bad_working_directory_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    for cwd in ["", "tmp", "./tmp", "../tmp"] {
        refused_edit(world, |config| config["process"]["cwd"] = json!(cwd)).says("process.cwd");
    }
    refused_edit(world, |config| drop(config["process"].as_object_mut().unwrap().remove("cwd"))).says("cwd");
    Ok(())
}

fn another_major_version_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    for version in ["99.0.0", "2.0.0", "0.5.0", "", "1", "one", "1.0.0.0", "v1.0.0"] {
        refused_edit(world, |config| config["ociVersion"] = json!(version)).says("ociVersion");
    }
    refused_edit(world, |config| drop(config.as_object_mut().unwrap().remove("ociVersion")))
        .says("ociVersion");
    Ok(())
}

fn an_apparmor_profile_without_apparmor_is_refused(world: &World) -> Outcome {
    if Path::new("/sys/kernel/security/apparmor").exists() {
        return harness::skip("the host has AppArmor");
    }
    world.only_orlop()?;
    refused_edit(world, |config| config["process"]["apparmorProfile"] = json!("it-profile"))
        .says("apparmorProfile");
    Ok(())
}

fn an_selinux_label_without_selinux_is_refused(world: &World) -> Outcome {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return harness::skip("the host has SELinux");
    }
    world.only_orlop()?;
    let label = "system_u:system_r:container_t:s0";
    refused_edit(world, |config| config["process"]["selinuxLabel"] = json!(label)).says("selinuxLabel");
    refused_edit(world, |config| config["linux"]["mountLabel"] = json!(label)).says("mountLabel");
    Ok(())
}

fn intel_rdt_without_resctrl_is_refused(world: &World) -> Outcome {
    if Path::new("/sys/fs/resctrl/schemata").exists() {
        return harness::skip("the host has resctrl");
    }
    world.only_orlop()?;
    refused_edit(world, |config| config["linux"]["intelRdt"] = json!({"closID": "it"})).says("intelRdt");
    Ok(())
}

fn a_network_device_that_is_absent_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    refused_edit(world, |config| config["linux"]["netDevices"] = json!({"it-no-such0": {}}))
        .says("netDevices");
    refused_edit(world, |config| config["linux"]["netDevices"] = json!({"a/b": {}})).says("netDevices");
    Ok(())
}

fn wrong_types_are_refused_with_their_pointer(world: &World) -> Outcome {
    world.only_orlop()?;
    let rows: [(&str, &str, Value); 9] = [
        ("/process/args", "process.args", json!("text")),
        ("/process/args", "process.args[1]", json!(["/bin/true", 5])),
        ("/process/terminal", "process.terminal", json!("yes")),
        ("/root/readonly", "root.readonly", json!(1)),
        ("/mounts", "mounts", json!({})),
        ("/mounts/2/options", "mounts[2].options", json!("ro")),
        ("/linux/namespaces/1/type", "linux.namespaces[1].type", json!(7)),
        ("/linux/resources", "linux.resources", json!([])),
        ("/hostname", "hostname", json!(5)),
    ];
    for (pointer, named, value) in rows {
        refused_edit(world, |config| *config.pointer_mut(pointer).unwrap() = value).says(named);
    }
    Ok(())
}

fn five_mistakes(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["ociVersion"] = json!("7.0.0");
        config["process"]["cwd"] = json!("relative");
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NO_SUCH", "soft": 1, "hard": 1}]);
        config["linux"]["namespaces"][2]["type"] = json!("net");
        config["linux"]["rootfsPropagation"] = json!("sideways");
    })
}

fn validate_lists_five_mistakes_with_their_pointers(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = five_mistakes(world.bundle());
    let ran = world.orlop(&["validate", bundle.path()]).fails();
    let text = format!("{}{}", ran.out, ran.err);
    for pointer in [
        "/ociVersion",
        "/process/cwd",
        "/process/rlimits/0/type",
        "/linux/namespaces/2/type",
        "/linux/rootfsPropagation",
    ] {
        assert!(text.contains(pointer), "{pointer} is missing in {ran}");
    }
    Ok(())
}

fn validate_accepts_a_good_bundle(world: &World) -> Outcome {
    world.only_orlop()?;
    world.orlop(&["validate", world.bundle().path()]).ok();
    let report = Report(world.run(&world.bundle()).ok().json());
    assert_eq!(report["pid"], 1);
    Ok(())
}

fn a_configuration_that_is_no_file_is_refused_at_once(world: &World) -> Outcome {
    world.only_orlop()?;
    let replace = |make: &dyn Fn(&str)| {
        let bundle = world.bundle();
        let path = format!("{}/config.json", bundle.path());
        fs::remove_file(&path).unwrap();
        make(&path);
        let ran = world.refused(&bundle);
        assert!(ran.took.as_secs() < 5, "{ran}");
    };
    replace(&|path| fs::create_dir(path).unwrap());
    replace(&|path| {
        world.finish(std::process::Command::new("mkfifo").arg(path)).ok();
    });
    replace(&|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap());
    Ok(())
}
