//! Who is in a group, by this machine's own files.

/// Returns the users of a group by this machine's own files; `None` where they don't know it.
pub(super) fn members(group: u32) -> Option<Vec<u32>> {
    members_in(&std::fs::read_to_string("/etc/group").ok()?, &std::fs::read_to_string("/etc/passwd").ok()?, group)
}

/// Returns the users that `/etc/group` names, and those whose first group it is by `/etc/passwd`. Pure.
fn members_in(groups: &str, users: &str, group: u32) -> Option<Vec<u32>> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let is = |field: Option<&String>, number: u32| field.and_then(|text| text.parse().ok()) == Some(number);
    let listed = groups.lines().map(fields).find(|fields| is(fields.get(2), group))?;
    let names: Vec<&str> = listed.get(3)?.split(',').filter(|name| !name.is_empty()).collect();
    let users: Vec<_> = users.lines().map(fields).collect();
    let of_name = |name: &&str| users.iter().find(|fields| fields[0] == *name)?.get(2)?.parse().ok();
    let named: Option<Vec<u32>> = names.iter().map(of_name).collect();
    let first = users.iter().filter(|fields| is(fields.get(3), group)).filter_map(|fields| fields.get(2)?.parse().ok());
    Some(named?.into_iter().chain(first).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_members_that_it_names_and_those_whose_first_group_it_is() {
        let groups = "root:x:0:\nalice:x:1001:\nstaff:x:50:alice,bob\nodd:x:60:nobody-knows\n";
        let users = "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/:\nbob:x:1002:50::/:\n\nbroken\n";
        let of = |group| members_in(groups, users, group);
        assert_eq!((of(0), of(1001)), (Some(vec![0]), Some(vec![1001])));
        assert_eq!(of(50), Some(vec![1001, 1002, 1002]));
        assert_eq!((of(60), of(70)), (None, None));
    }
}
