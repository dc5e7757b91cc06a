//! What goes before the user's file, and files that can't be read.

use std::path::Path;

use codex_config::{Effective, Layer, PROVIDER, Problem, Said};

use crate::finding::Finding;

const ID: &str = "layers";
/// What chooses a provider.
pub(super) const SELECTOR: &str = "model_provider";
/// What says where ours is.
const ADDRESS: &str = "base_url of [model_providers.openai-proxy]";

/// Whether the user's own file chooses our provider.
pub(super) fn user_is_pointed(effective: &Effective) -> bool {
    users(effective).is_some_and(|said| said.provider.as_deref() == Some(PROVIDER))
}

/// One that passes where nothing stands in the way, else one for each thing that does.
pub(super) fn judge(effective: &Effective, config: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = effective.problems.iter().map(unreadable).collect();
    for said in effective.said.iter().filter(|said| said.layer.is_above_users_file()) {
        findings.extend(overriding(said, effective, config));
    }
    if findings.is_empty() {
        findings.push(Finding::pass(ID, format!("nothing goes before {}", config.display())));
    }
    findings
}

fn users(effective: &Effective) -> Option<&Said> {
    effective.said.iter().find(|said| matches!(said.layer, Layer::User(_)))
}

fn unreadable(problem: &Problem) -> Finding {
    let evidence = format!("{}: {}", problem.file.display(), problem.what);
    let remedy = match problem.is_unread {
        true => "mend it, or ask whose file it is: Codex may not start with it",
        false => "mend it, or ask whose file it is: Codex does not start with it",
    };
    Finding::fail(ID, evidence, remedy)
}

/// What a layer above the user's file says otherwise than that.
fn overriding(said: &Said, effective: &Effective, config: &Path) -> Option<Finding> {
    let (layer, before) = (&said.layer, format!("which goes before {}", config.display()));
    let other = said.provider.as_deref().filter(|provider| *provider != PROVIDER);
    // Where the user's file has none, or is not pointed, nothing of it is overridden.
    let users_url = users(effective).and_then(|said| said.base_url.as_deref());
    let users_url = users_url.filter(|_| effective.is_ours());
    let other_url = said.base_url.as_deref().filter(|url| users_url.is_some_and(|it| it != *url));
    let (evidence, what) = match (other, other_url) {
        (Some(provider), _) => {
            (format!("{layer} sets {SELECTOR} = {provider:?}, {before}"), SELECTOR)
        }
        // An address may have a password in it: that it is another is enough.
        (None, Some(_)) => {
            let provider = &effective.provider;
            (format!("{layer} sets another base_url for {provider:?}, {before}"), ADDRESS)
        }
        (None, None) => return None,
    };
    Some(match user_is_pointed(effective) {
        true => Finding::fail(ID, evidence, remedy(layer, what)),
        false => Finding::warn(ID, evidence, remedy(layer, what)),
    })
}

/// How to get rid of what a layer says with this key.
pub(super) fn remedy(layer: &Layer, key: &str) -> String {
    match layer {
        Layer::Managed(_) | Layer::Requirements(_) | Layer::System(_) => {
            format!("ask who administers this machine to take {key} out of {layer}")
        }
        Layer::CommandLine => "leave it out of the command line".to_owned(),
        Layer::Profile(_) => format!("run Codex without it, or take {key} out of {layer}"),
        Layer::User(_) | Layer::BuiltIn => "point it at the proxy: codex proxy point".to_owned(),
    }
}
