use super::*;

/// `r:` is run, `s:` searched, `g:` given.
fn words(found: Vec<(PathBuf, How)>) -> String {
    let word = |(path, how): (PathBuf, How)| {
        let how = match how {
            How::Run => 'r',
            How::Searched => 's',
            How::Given => 'g',
        };
        format!("{how}:{}", path.display())
    };
    found.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_shells_text_names_what_it_runs_and_what_it_is_given() {
    for (text, expected) in [
        ("/opt/x/run.sh", "r:/opt/x/run.sh"),
        ("run.sh", ""),
        ("./run.sh", "r:/w/run.sh"),
        ("/opt//x/./y", "r:/opt/x/y"),
        ("/opt/$x/y", "r:/opt"),
        ("/$x", ""),
        ("/opt/x --conf=/etc/x.conf /srv/y", "r:/opt/x g:/etc/x.conf g:/srv/y"),
        ("sh /opt/x.sh /opt/y", "r:/opt/x.sh g:/opt/y"),
        ("/bin/bash -o pipefail -x /opt/x.sh", "r:/bin/bash r:/opt/x.sh"),
        ("bash -lc '/opt/x; cd /srv && ./y'", "r:/opt/x r:/srv/y"),
        ("python3.11 -u app.py", "r:/w/app.py"),
        ("python3 -m app /opt/x", "g:/opt/x"),
        ("python3 -c 'import os' /opt/x", "g:/opt/x"),
        ("java -Xmx1g -jar /opt/x.jar", "r:/opt/x.jar"),
        ("test -x /opt/x || /opt/y", "r:/opt/y"),
        ("if [ -e /opt/x ]; then /opt/y; fi", "r:/opt/y"),
        ("cd / && run-parts --report /etc/cron.daily", "r:/etc/cron.daily"),
        ("nice -n 10 env A=b timeout 5m /opt/x /opt/y", "r:/opt/x g:/opt/y"),
        ("timeout -s KILL 5m /opt/x.sh /opt/y", "r:/opt/x.sh g:/opt/y"),
        ("ionice -c idle -n 7 /opt/x.sh", "r:/opt/x.sh"),
        ("timeout -s KILL 5m sh /opt/x.sh", "r:/opt/x.sh"),
        ("timeout -k 5 10 x /opt/y", "g:/opt/y"),
        ("setsid -f x y", ""),
        ("java -cp a.jar:/opt/c.jar Main /opt/y", "r:/w/a.jar r:/opt/c.jar g:/opt/y"),
        ("SHELL=/opt/sh x", "r:/opt/sh"),
        ("flock -n lock /opt/x", "r:/opt/x"),
        ("flock -n /run/lock/x /opt/x", "r:/opt/x"),
        ("flock -w 5 /run/lock/x -c '/opt/x'", "r:/opt/x"),
        ("/opt/x >/var/log/x 2>&1 </srv/in", "g:/var/log/x g:/srv/in r:/opt/x"),
        ("/opt/x >> /var/log/x after", "g:/var/log/x r:/opt/x"),
        ("PATH=/opt/bin:/usr/bin A=/no x", "s:/opt/bin s:/usr/bin"),
        ("export LD_PRELOAD=/opt/x.so; y", "s:/opt/x.so"),
        (". /opt/env; /opt/x # /opt/no", "r:/opt/env r:/opt/x"),
        ("\"/opt/a b/x\" '/opt/c d' /opt/e\\ f", "r:/opt/a b/x g:/opt/c d g:/opt/e f"),
        ("x `/opt/y` $(/opt/z)", "r:/opt/y r:/opt/z"),
        ("", ""),
        ("'", ""),
        ("> ", ""),
    ] {
        assert_eq!(words(of_shell(text, Some(Path::new("/w")))), expected, "{text}");
    }
    assert_eq!(words(of_shell("./run.sh; python x.py", None)), "");
}

#[test]
fn words_are_no_shells_text() {
    let listed = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (list, expected) in [
        (listed(&["/opt/x", ";", "/opt/y"]), "r:/opt/x g:/opt/y"),
        (listed(&["/bin/sh", "-c", "/opt/x | /opt/y"]), "r:/bin/sh r:/opt/x r:/opt/y"),
        (listed(&["/opt/x", "a b /opt/y"]), "r:/opt/x"),
        (listed(&[]), ""),
    ] {
        assert_eq!(words(of_words(&list, None)), expected, "{list:?}");
    }
}

#[test]
fn a_shell_in_a_shell_is_not_followed_without_end() {
    let mut text = "/opt/x".to_owned();
    for _ in 0..10 {
        text = format!("sh -c \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    assert_eq!(words(of_shell(&text, None)), "");
}
