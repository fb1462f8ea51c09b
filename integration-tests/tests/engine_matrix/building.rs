//! Images: built, committed, pushed and pulled.

use crate::cell::Cell;
use crate::engine::installed;
use crate::image::IMAGE;
use integration_tests::process::wait_until;
use integration_tests::world::{LIMIT, text_of};
use integration_tests::{Outcome, skip};
use std::fs;

/// Each step shows that the ones before it are there.
const RECIPE: &str = "FROM it-busybox:latest\n\
    ENV STEP=one\n\
    RUN echo $STEP > /one && test $(id -u) = 0\n\
    WORKDIR /srv/app\n\
    COPY file sub/ ./\n\
    RUN test -e file && cat /one file > both && mkdir -p /srv/app/made && chown -R 1000:1000 /srv/app\n\
    USER walter\n\
    RUN id -u > who && touch made/by-walter\n\
    CMD [\"/bin/sh\", \"-c\", \"cat both who; pwd; ls made; id -u\"]\n";

const BUILT: &str = "one\nbelow\n1000\n/srv/app\nby-walter\n1000\n";

/// The recipe's directory.
fn context(cell: &Cell, recipe: &str) -> String {
    let share = cell.share();
    fs::write(format!("{share}/Dockerfile"), recipe).expect("recipe");
    share
}

/// `build` in the engine's words.
fn build_words<'a>(cell: &Cell, tag: &'a str, context: &'a str, parent: &'a str) -> Vec<&'a str> {
    let mut words = vec!["build", "--network", "none", "--no-cache", "--tag", tag];
    if cell.is_podman() {
        words.push("--pull=never");
    }
    if cell.is_podman() && !cell.is_rootless() {
        words.extend(["--cgroup-parent", parent]);
    }
    words.push(context);
    words
}

pub(crate) fn build(cell: &Cell) -> Outcome {
    let (tag, context) = (cell.name(), context(cell, RECIPE));
    // The runtime gets this very group, so nothing else may be in it.
    let parent = format!("/{}/build-{tag}", cell.engine.host.parent.name);
    cell.call(&build_words(cell, &tag, &context, &parent)).ok();
    assert_eq!(cell.run_image(&tag, &[], &[]).ok().out, BUILT);
    cell.call(&["rmi", "--force", &tag]).ok();
    Ok(())
}

pub(crate) fn failing_step(cell: &Cell) -> Outcome {
    let (tag, context) =
        (cell.name(), context(cell, "FROM it-busybox:latest\nRUN echo before; exit 3\nRUN echo after\n"));
    // The runtime gets this very group, so nothing else may be in it.
    let parent = format!("/{}/build-{tag}", cell.engine.host.parent.name);
    let ran = cell.call(&build_words(cell, &tag, &context, &parent)).fails();
    let text = format!("{}{}", ran.out, ran.err);
    assert!(text.contains("before") && !text.contains("\nafter") && text.contains('3'), "{ran}");
    Ok(())
}

fn buildah_build_words<'a>(
    tag: &'a str,
    context: &'a str,
    parent: &'a str,
    runtime: &'a str,
) -> Vec<&'a str> {
    vec![
        "build",
        "--runtime",
        runtime,
        "--isolation",
        "oci",
        "--network",
        "none",
        "--pull=never",
        "--layers",
        "--no-cache",
        "--cgroup-parent",
        parent,
        "--tag",
        tag,
        context,
    ]
}

pub(crate) fn buildah_build(cell: &Cell) -> Outcome {
    let (tag, context, runtime) = (cell.name(), context(cell, RECIPE), cell.engine.runtime_path());
    // The runtime gets this very group, so nothing else may be in it.
    let parent = format!("/{}/build-{tag}", cell.engine.host.parent.name);
    cell.call(&buildah_build_words(&tag, &context, &parent, &runtime)).ok();
    let ran = cell.run_image(&tag, &[], &["/bin/sh", "-c", "cat both who; pwd; ls made; id -u"]);
    assert_eq!(ran.ok().out, BUILT);
    Ok(())
}

pub(crate) fn buildah_failing_step(cell: &Cell) -> Outcome {
    let context = context(cell, "FROM it-busybox:latest\nRUN echo before; exit 3\nRUN echo after\n");
    let (tag, runtime) = (cell.name(), cell.engine.runtime_path());
    // The runtime gets this very group, so nothing else may be in it.
    let parent = format!("/{}/build-{tag}", cell.engine.host.parent.name);
    let ran = cell.call(&buildah_build_words(&tag, &context, &parent, &runtime)).fails();
    assert!(ran.out.contains("before") && !ran.out.contains("\nafter"), "{ran}");
    Ok(())
}

/// dockerd's BuildKit runs the program of its path that is called runc, which here is a link to orlop.
pub(crate) fn buildkit(cell: &Cell) -> Outcome {
    cell.only_docker("BuildKit")?;
    let (tag, context) = (cell.name(), context(cell, RECIPE));
    let ran = cell.shell(&format!(
        "${{ENGINE/DOCKER_BUILDKIT=0/DOCKER_BUILDKIT=1}} build --no-cache --tag {tag} {context}"
    ));
    if ran.err.contains("buildx component is missing") {
        return skip("the client's buildx is not installed");
    }
    ran.ok();
    assert_eq!(cell.run_image(&tag, &[], &[]).ok().out, BUILT);
    cell.call(&["rmi", "--force", &tag]).ok();
    Ok(())
}

pub(crate) fn commit(cell: &Cell) -> Outcome {
    let (name, tag) = (cell.start(&[], &["/bin/sh", "-c", "echo more > /added; sleep 1000"]), cell.name());
    let made = || cell.exec(&name, &[], &["/bin/test", "-s", "/added"]).code == Some(0);
    wait_until("the file is made", LIMIT, made);
    let pause = if cell.is_rootless() { "--pause=false" } else { "--pause=true" };
    cell.call(&["commit", pause, &name, &tag]).ok();
    assert_eq!(cell.run_image(&tag, &[], &["/bin/cat", "/added"]).ok().out, "more\n");
    cell.call(&["rmi", "--force", &tag]).ok();
    Ok(())
}

pub(crate) fn buildah_commit(cell: &Cell) -> Outcome {
    let (name, tag, runtime) = (cell.buildah_from(&[]), cell.name(), cell.engine.runtime_path());
    cell.call(&["run", "--runtime", &runtime, &name, "/bin/sh", "-c", "echo more > /added"]).ok();
    cell.call(&["commit", "--quiet", &name, &tag]).ok();
    assert_eq!(cell.run_image(&tag, &[], &["/bin/cat", "/added"]).ok().out, "more\n");
    Ok(())
}

/// A registry on the loopback of the engine's host; it ends with the host.
fn start_registry(cell: &Cell) -> Result<String, integration_tests::harness::Skipped> {
    let Some(program) = installed("docker-registry") else { return skip("docker-registry is not installed") };
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n",
        cell.world.path("registry")
    );
    let file = cell.world.file("registry.yml", &config);
    drop(cell.world.begin(cell.engine.host.command(&text_of(&program)).args(["serve", &file])));
    let answers = || cell.fetch("127.0.0.1", 5000, "/v2/").contains("200 OK");
    wait_until("the registry answers", LIMIT, answers);
    Ok("127.0.0.1:5000/it/pushed:latest".to_owned())
}

/// Ends the registry, which is a process of the host and no child of ours.
fn stop_registry(cell: &Cell) {
    for line in cell.engine.host.processes().iter().filter(|line| line.contains("docker-registry serve")) {
        let pid = line.split_whitespace().next().unwrap_or_default();
        cell.on_host(&["kill", pid]);
    }
}

pub(crate) fn registry(cell: &Cell) -> Outcome {
    let target = start_registry(cell)?;
    cell.call(&["tag", IMAGE, &target]).ok();
    cell.call(&["push", &target]).ok();
    cell.call(&["rmi", &target]).ok();
    cell.call(&["pull", &target]).ok();
    assert_eq!(cell.run_image(&target, &[], &["/bin/echo", "pulled"]).ok().out, "pulled\n");
    cell.call(&["rmi", &target]).ok();
    stop_registry(cell);
    Ok(())
}

pub(crate) fn ctr_registry(cell: &Cell) -> Outcome {
    let target = start_registry(cell)?;
    cell.call(&["images", "tag", &format!("docker.io/library/{IMAGE}"), &target]).ok();
    cell.call(&["images", "push", "--plain-http", &target]).ok();
    cell.call(&["images", "rm", &target]).ok();
    cell.call(&["images", "pull", "--plain-http", &target]).ok();
    assert_eq!(cell.run_image(&target, &[], &["/bin/echo", "pulled"]).ok().out, "pulled\n");
    stop_registry(cell);
    Ok(())
}

pub(crate) fn buildah_registry(cell: &Cell) -> Outcome {
    let target = start_registry(cell)?;
    cell.call(&["push", IMAGE, &format!("docker://{target}")]).ok();
    cell.call(&["pull", &format!("docker://{target}")]).ok();
    assert_eq!(cell.run_image(&target, &[], &["/bin/echo", "pulled"]).ok().out, "pulled\n");
    stop_registry(cell);
    Ok(())
}
