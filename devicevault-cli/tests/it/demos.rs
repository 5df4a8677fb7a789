//! The demonstration.

use crate::person::Person;

#[test]
fn the_demo_ends_in_a_difference_and_leaves_its_folder() {
    let person = Person::new();
    for _ in 0..2 {
        // The second one makes way for itself.
        let answer = person.run(&["demo"]).good();
        let last = answer.out.lines().rev().take_while(|l| !l.starts_with("+++")).collect::<Vec<_>>();
        assert!(last.iter().any(|l| l.starts_with("+ description")), "{}", answer.out);
        assert!(answer.out.contains("-snmp-server community <secret:"), "{}", answer.out);
    }
    person.run(&["--home", "devicevault-demo", "verify"]).good();
    let listed = person.run(&["--home", "devicevault-demo", "device", "list", "--json"]).good().json();
    assert_eq!(listed.as_array().unwrap().len(), 5);
    let told = person.run(&["demo", "--devices", "1", "--dir", "one", "--json"]).good().json();
    assert_eq!((&told["first"], &told["second"]), (&"done".into(), &"done".into()));
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let person = Person::new();
    std::fs::create_dir(person.path("devicevault-demo")).unwrap();
    person.write("devicevault-demo/thesis.txt", "precious");
    let answer = person.run(&["demo"]).ended(1);
    assert!(answer.err.contains("--dir"), "{answer:?}");
    assert_eq!(std::fs::read_to_string(person.path("devicevault-demo/thesis.txt")).unwrap(), "precious");
}
