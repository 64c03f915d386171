//! A dry run tells what would be, and leaves everything as it is.

use super::overlay::{lay, narrow};
use crate::backend::{Action, Observed};
use crate::label::Selector;
use crate::name::{NetworkName, ServiceName, StackName};
use crate::spec::Network;

#[test]
fn what_is_laid_over_can_be_taken_back() {
    let stack = StackName::parse("shop").expect("a name");
    let name = NetworkName::parse("default").expect("a name");
    let mut observed = Observed::default();
    let spec = Network::default();
    let made = Action::EnsureNetwork {
        name: name.clone(),
        spec,
    };
    lay(&mut observed, &stack, &made);
    assert!(observed.stacks[&stack].networks.contains_key(&name));
    let service = ServiceName::parse("web").expect("a name");
    let mut narrowed = Observed::default();
    lay(&mut narrowed, &stack, &made);
    narrow(&mut narrowed, &Selector::service(stack.clone(), service));
    assert!(narrowed.stacks.is_empty(), "a network is nobody's service");
    lay(&mut observed, &stack, &Action::RemoveNetwork { name });
    assert!(observed.stacks.is_empty());
}
