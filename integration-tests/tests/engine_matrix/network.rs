//! Networks: what a container reaches and who reaches it.

use crate::cell::Cell;
use integration_tests::Outcome;
use integration_tests::process::wait_until;
use integration_tests::world::LIMIT;

const SERVER: [&str; 6] = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"];
const PAGE: &str = "served from the inside\n";

fn net(cell: &Cell, options: &[&str]) -> String {
    cell.run(options, &["/bin/readlink", "/proc/self/ns/net"]).ok().out
}

fn host_net(cell: &Cell) -> String {
    cell.on_host(&["readlink", "/proc/self/ns/net"]).ok().out
}

pub(crate) fn host(cell: &Cell) -> Outcome {
    assert_eq!(net(cell, &["--network", "host"]), host_net(cell));
    Ok(())
}

pub(crate) fn ctr_host(cell: &Cell) -> Outcome {
    assert_eq!(net(cell, &["--net-host"]), host_net(cell));
    Ok(())
}

pub(crate) fn buildah_host(cell: &Cell) -> Outcome {
    assert_eq!(net(cell, &["--network", "host"]), host_net(cell));
    Ok(())
}

/// Whether a server of the engine's host answers with the image's page.
fn serves(cell: &Cell, host: &str, port: u32) -> bool {
    cell.fetch(host, port, "/").ends_with(PAGE)
}

pub(crate) fn published(cell: &Cell) -> Outcome {
    let name = cell.start(&["--publish", "127.0.0.1:8080:80"], &SERVER);
    wait_until("the page is served", LIMIT, || serves(cell, "127.0.0.1", 8080));
    let port = cell.call(&["port", &name, "80"]).ok().out;
    assert!(port.contains("8080"), "{port}");
    cell.remove(&name).ok();
    assert!(!serves(cell, "127.0.0.1", 8080));
    Ok(())
}

pub(crate) fn ctr_bridge(cell: &Cell) -> Outcome {
    let places = ["/opt/cni/bin/bridge", "/usr/lib/cni/bridge"];
    if !places.iter().any(|place| std::path::Path::new(place).exists()) {
        return integration_tests::skip("the bridge plugin of CNI is not installed");
    }
    let name = cell.start(&["--cni"], &SERVER);
    let out = cell.exec(&name, &[], &["/bin/ip", "-4", "-o", "addr", "show", "eth0"]).ok().out;
    let address =
        out.split_whitespace().nth(3).and_then(|word| word.split('/').next()).expect("an address").to_owned();
    wait_until("the page is served", LIMIT, || serves(cell, &address, 80));
    Ok(())
}

pub(crate) fn of_another(cell: &Cell) -> Outcome {
    let first = cell.start(&["--network", "none"], &SERVER);
    let option = format!("container:{first}");
    let fetch =
        || cell.run(&["--network", &option], &["/bin/wget", "-q", "-O", "-", "http://127.0.0.1/"]).out;
    wait_until("the page is served", LIMIT, || fetch() == PAGE);
    Ok(())
}

pub(crate) fn ctr_of_another(cell: &Cell) -> Outcome {
    let first = cell.start(&[], &SERVER);
    cell.exec(&first, &[], &["/bin/ifconfig", "lo", "up"]);
    let option = format!("network:/proc/{}/ns/net", cell.pid(&first));
    let inside = net(cell, &["--with-ns", &option]);
    let first = cell.exec(&first, &[], &["/bin/readlink", "/proc/self/ns/net"]).ok().out;
    assert_eq!(inside, first);
    Ok(())
}

/// A network with its own names; removed with its containers.
pub(crate) fn named(cell: &Cell) -> Outcome {
    let network = format!("{}-net", cell.name());
    cell.call(&["network", "create", &network]).ok();
    let server = cell.start(&["--network", &network], &SERVER);
    // The probe, because busybox's static glibc cannot look up names without files of its own.
    let question = format!("fetch:{server}");
    let fetch = || cell.run(&["--network", &network], &["/bin/probe", &question]).out.contains(PAGE.trim());
    wait_until("the page is served by name", LIMIT, fetch);
    cell.remove(&server).ok();
    cell.call(&["network", "rm", &network]).ok();
    Ok(())
}

pub(crate) fn connect(cell: &Cell) -> Outcome {
    let (first, second) = (format!("{}-net", cell.name()), format!("{}-net", cell.name()));
    cell.call(&["network", "create", &first]).ok();
    cell.call(&["network", "create", &second]).ok();
    let name = cell.start(&["--network", &first], &["/bin/sleep", "1000"]);
    let devices = || cell.exec(&name, &[], &["/bin/ls", "/sys/class/net"]).ok().out.replace('\n', " ");
    assert_eq!(devices(), "eth0 lo ");
    cell.call(&["network", "connect", &second, &name]).ok();
    assert_eq!(devices(), "eth0 eth1 lo ");
    cell.call(&["network", "disconnect", &second, &name]).ok();
    assert_eq!(devices(), "eth0 lo ");
    cell.remove(&name).ok();
    cell.call(&["network", "rm", &first]).ok();
    cell.call(&["network", "rm", &second]).ok();
    Ok(())
}

pub(crate) fn fixed_address(cell: &Cell) -> Outcome {
    let network = format!("{}-net", cell.name());
    cell.call(&["network", "create", "--subnet", "10.77.0.0/24", &network]).ok();
    let options = ["--network", &network, "--ip", "10.77.0.9", "--mac-address", "02:42:0a:4d:00:09"];
    let ran = cell.run(&options, &["/bin/ip", "addr", "show", "eth0"]).ok();
    cell.call(&["network", "rm", &network]).ok();
    assert!(ran.out.contains("10.77.0.9/24") && ran.out.contains("02:42:0a:4d:00:09"), "{ran}");
    Ok(())
}

/// A network namespace that the host named.
fn netns(cell: &Cell) -> (String, String) {
    let name = cell.name();
    cell.on_host(&["ip", "netns", "add", &name]).ok();
    let path = format!("/run/netns/{name}");
    let inode = cell.on_host(&["stat", "-L", "-c", "net:[%i]", &path]).ok().out;
    (path, inode)
}

pub(crate) fn by_path(cell: &Cell) -> Outcome {
    cell.only_podman("a network namespace by path")?;
    if cell.is_rootless() {
        return integration_tests::skip("an ordinary user may not join a namespace of root's");
    }
    let (path, inode) = netns(cell);
    assert_eq!(net(cell, &["--network", &format!("ns:{path}")]), inode);
    Ok(())
}

pub(crate) fn ctr_by_path(cell: &Cell) -> Outcome {
    let (path, inode) = netns(cell);
    assert_eq!(net(cell, &["--with-ns", &format!("network:{path}")]), inode);
    Ok(())
}

pub(crate) fn buildah_by_path(cell: &Cell) -> Outcome {
    let (path, inode) = netns(cell);
    assert_eq!(net(cell, &["--network", &format!("ns:{path}")]), inode);
    Ok(())
}

/// Containers of a pod share network, ipc and uts, and end with it.
pub(crate) fn pod(cell: &Cell) -> Outcome {
    cell.only_podman("a pod")?;
    let pod = format!("{}-pod", cell.name());
    let parent = format!("/{}", cell.engine.host.parent.name);
    let mut create =
        vec!["pod", "create", "--name", &pod, "--hostname", "it-pod", "--publish", "127.0.0.1:8081:80"];
    if !cell.is_rootless() {
        create.extend(["--cgroup-parent", &parent]);
    }
    cell.call(&create).ok();
    let server = cell.name();
    cell.call(&[
        "run",
        "--detach",
        "--pod",
        &pod,
        "--name",
        &server,
        "it-busybox:latest",
        "/bin/httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/www",
    ])
    .ok();
    let beside = |program: &[&str]| {
        let words = [&["run", "--rm", "--pod", &pod, "it-busybox:latest"], program].concat();
        cell.call(&words)
    };
    wait_until("the page is served", LIMIT, || {
        beside(&["/bin/wget", "-q", "-O", "-", "http://127.0.0.1/"]).out == PAGE
    });
    assert!(serves(cell, "127.0.0.1", 8081));
    assert_eq!(beside(&["/bin/hostname"]).ok().out, "it-pod\n");
    cell.call(&["pod", "pause", &pod]).code.filter(|code| *code == 0 || cell.is_rootless()).expect("pause");
    cell.call(&["pod", "unpause", &pod]);
    cell.call(&["pod", "stop", "--time", "1", &pod]).ok();
    cell.call(&["pod", "rm", "--force", &pod]).ok();
    Ok(())
}
