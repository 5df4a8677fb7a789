//! Secrets that are known by their shape, wherever they stand.

/// What has to stand in a line before an expression is asked, in any case, and the expression. Its groups are secret.
pub(super) const SHAPES: [(&[&str], &str); 48] = [
    // crypt(3), the vendors' own such as `$9$` (Junos), `$M$` (F5), `$c$3$` (Comware), `$1a$` (VRP)
    (
        &["$"],
        r"(\$(?:\d{1,2}[a-z]{0,2}|y|gy|[MmCch]|apr1|md5|sha\d+|shake\d+|nt|bcrypt|scrypt|pbkdf2[\w-]*|argon2\w*|AES\w*|aes\w*)\$[^\s\x22';,:<>{}\\]+)",
    ),
    // VRP and Comware
    (&["%^%#"], r"(%\^%#(?:.*?%\^%#|\S+))"),
    (&["%$%$"], r"(%\$%\$(?:.*?%\$%\$|\S+))"),
    (&["%@%@"], r"(%@%@(?:.*?%@%@|\S+))"),
    (&["%#%#"], r"(%#%#(?:.*?%#%#|\S+))"),
    (&["%+%#"], r"(%\+%#(?:.*?%\+%#|\S+))"),
    // PAN-OS: an envelope under the master key
    (&["-AQ=="], r"(-AQ==[A-Za-z0-9+/=]*)"),
    // FortiOS
    (&["enc "], r"\bENC ([^\s\x22';]+)"),
    // Type 7 of Cisco and those who took it over: a seed of two digits, and pairs
    (&[" 7 "], r"(?:^|\s)7 \x22?([0-5][0-9](?:[0-9A-Fa-f]{2}){3,})\x22?(?:\s|;|$)"),
    // Keys of cloud services
    (&["akia", "asia"], r"\b((?:AKIA|ASIA)[A-Z0-9]{12,})"),
    (&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\b(gh[pousr]_[A-Za-z0-9]{16,})"),
    (&["github_pat_"], r"\b(github_pat_\w{16,})"),
    (&["glpat-", "glrt-", "gldt-"], r"\b(gl(?:pat|rt|dt)-[\w-]{12,})"),
    (
        &["dckr_pat_", "sk-proj-", "npm_", "dop_v1_", "shpat_", "sg."],
        r"\b((?:dckr_pat_|sk-proj-|npm_|dop_v1_|shpat_)[\w-]{16,}|SG\.[\w-]{12,}\.[\w-]{20,})",
    ),
    (&["xox"], r"\b(xox[a-z]-[A-Za-z0-9-]{8,})"),
    (&["aiza"], r"\b(AIza[0-9A-Za-z_-]{24,})"),
    (&["ya29."], r"\b(ya29\.[0-9A-Za-z_-]{16,})"),
    (&["hvs."], r"\b(hvs\.[A-Za-z0-9_-]{16,})"),
    (&["eyj"], r"\b(eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*)"),
    (&["accountkey=", "sig="], r"(?i)\b(?:AccountKey|sig)=([A-Za-z0-9+/%=]{16,})"),
    (
        &[
            "hooks.slack.com",
            "/webhooks/",
            "webhook.office.com",
            "/webhookb2/",
            "/hooks/catch/",
            "/with/key/",
            "pagerduty.com",
        ],
        r"(?i)(?:hooks\.slack\.com/\w+|/webhooks|webhook\.office\.com|/webhookb2|/hooks/catch|/with/key|pagerduty\.com/integration)/([^\s\x22'<>]+)",
    ),
    // HTTP: what a request is authorised by
    (
        &["authorization"],
        r"(?i)authorization[\x22']?\s*[:=]\s*[\x22']?(?:bearer|basic|digest|token|negotiate|ntlm|apikey|splunk|hawk|aws4-hmac-sha256)\s+([^\x22'<>\\]+)",
    ),
    (
        &["authorization"],
        r"(?i)authorization[\x22']?(?:\s*\(\s*|\s*,\s*|\s+)(?:\\?[\x22'])+(?:bearer|basic|digest|token|apikey)\s+([^\x22'<>\\]+)",
    ),
    (&["authorization"], r"Authorization: *([^\s\x22'<>]{4,})\s*[\x22']?$"),
    (&["bearer "], r"(?:Bearer|bearer) +([A-Za-z0-9._~+/=-]{8,})"),
    // curl and its like
    (&["-u ", "--user", "-u'", "-u\""], r#"(?:^|\s)(?:-u|--user)[ =]*["']?[\w.@\\-]+:([^\s"']+)"#),
    (&["sshpass -p"], r"\bsshpass\s+-p\s*[\x22']?([^\s\x22']+)"),
    (&["mysql", "mariadb"], r"\b(?:mysql|mariadb)[\w-]*\s(?:.*?\s)?-p[\x22']?([^\s\x22']+)"),
    // The secrets of strongSwan and of those like it
    (
        &[": eap ", ": xauth ", ": ntlm ", ": pin "],
        r"(?:^|\s):\s+(?:EAP|XAUTH|NTLM|PIN)\s+(?:\x22([^\x22]*)\x22|(\S+))",
    ),
    // A key in one line: of JSON, or base64 of its whole file
    (
        &["private key-----", "ls0tls1crudjti"],
        r#"(?:-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:\\[rn])*([^-"']+)(?:-----END|["']|$)|(LS0tLS1CRUdJTi(?:BQUklW|BSU0EgUFJJ|BFQyBQUkl|BFTkNSWVBURUQg|BPUEVOU1NI|BEU0Eg|BPcGVuVlBO|BQR1AgUFJJ)[A-Za-z0-9+/=]*))"#,
    ),
    (&["age-secret-key-"], r"(?i)\b(AGE-SECRET-KEY-[0-9A-Z]{20,})"),
    (&["tskey-"], r"\b(tskey-[\w-]{10,})"),
    (&["sk_live_", "rk_live_"], r"\b([sr]k_live_\w{10,})"),
    // The key of UISP, behind the address of its server
    (&["wss://"], r"wss://[^\s+]+\+([^\s+'\x22]{8,})"),
    // A bot of Telegram
    (&[":aa"], r"(?:^|[^0-9A-Za-z]|bot)([0-9]{8,10}:AA[\w-]{30,})"),
    (&["/bot"], r"/bot[0-9]{6,12}:([\w-]{20,})"),
    // Routing protocols: keys without a word that says so
    (
        &["ipsec spi"],
        r"(?i)\bipsec spi \d+ (?:(?:esp|ah) )?(?:null |(?:3?des(?:-cbc)?|aes(?:-(?:128|192|256))?(?:-cbc)?(?: (?:128|192|256))?) (?:(?:password6?|passphrase|clear|encrypted|encryptb64|[0-9]a?) )*(\S+) (?:authentication )?)?(?:md5|sha1) (?:(?:password6?|passphrase|clear|encrypted|encryptb64|encrypt|no-encrypt|[0-9]a?) )*(\S+)",
    ),
    (
        &["auth-type ", "authentication-type "],
        r"\bauth(?:entication)?-type (?:simple-text-auth|simple-text|simple-password|simple|md5-auth) (?:(?:auth-)?key .*|\x22?([^\s\x22]+))",
    ),
    (
        &["authentication simple", "authentication text ", "authentication plain-text ", "authentication ietf-md5 "],
        r"\bauthentication (?:text|simple-text|simple|plain-text|ietf-md5) (?:(?:auth-)?key .*|\x22?([^\s\x22]+))",
    ),
    (&["nhrp authentication "], r"\bnhrp authentication (\S+)"),
    (&["authentication string ", "authentication-string "], r"\brip authentication[ -]string (\S+)"),
    // The agent of net-snmp: users of version 3, and communities by which security names are found
    (
        &["createuser "],
        r"^\s*createUser\s+(?:-e\s+\S+\s+)?\S+\s+(?:MD5|SHA\S*)\s+(?:\x22([^\x22]*)\x22|(\S+))(?:\s+(?:DES|AES\S*)\s+(?:\x22([^\x22]*)\x22|(\S+)))?",
    ),
    (&["usmuser "], r"^\s*usmUser\s+(\S.*)$"),
    (
        &["trapsink ", "trap2sink ", "informsink "],
        r"^\s*(?:trapsink|trap2sink|informsink)\s+\S+\s+(?:\x22([^\x22]*)\x22|(\S+))",
    ),
    (
        &["trapsess ", "proxy -", "snmptrap ", "snmpinform ", "snmpwalk ", "snmpget "],
        r"\s-[AXc]\s+(?:[\x22']([^\x22']*)[\x22']|(\S+))",
    ),
    (&["com2sec"], r"^\s*com2sec6?\s+(?:-Cn\s+\S+\s+)?\S+\s+\S+\s+(?:\x22([^\x22]*)\x22|(\S+))"),
    // Communities that stand behind a version
    (
        &["snmp-server host "],
        r"\bsnmp-server host \S+(?: (?:vrf|udp-port|port) \S+)*(?: (?:traps?|informs?))?(?: version)? v?(?:1|2c?) (?:(?:udp-port|port|severity-level|use-vrf|vrf|source-interface|source|community|filter|timeout|retries)\b.*|(?:(?:clear|encrypted|[0-9]) )?\x22?([^\s\x22]+))",
    ),
    // The first line of a private key without the frame that PEM puts around it, as base64 has the beginnings of PKCS#8,
    // PKCS#1, SEC1 and OpenSSH's own form. Public keys and certificates begin otherwise.
    (
        &[
            "b3blbnnzac1rzxktdje",
            "ibadanbgkqhkig9w0baqef",
            "ibaakb",
            "ibaakc",
            "bgkqhkig9w0bbq0w",
            "byqgsm49",
            "mhccaqeei",
            "agebb",
            "mc4caqawbqydk2vw",
        ],
        r"(?:^|[^A-Za-z0-9+/])((?:b3BlbnNzaC1rZXktdjE|MII[A-Za-z0-9+/]{3}IB(?:ADANBgkqhkiG9w0BAQEFA|AAK[BC])|MII[A-Za-z0-9+/]{5}BgkqhkiG9w0BBQ0w|MI[A-Za-z0-9+/]{2}AgEAM[A-Za-z0-9+/]{3}ByqGSM49|MI[A-Za-z0-9+/]{2}AgEBB[DE]|MHcCAQEEI|MC4CAQAwBQYDK2Vw)[A-Za-z0-9+/]{16,}=*)",
    ),
];

/// Which of them begins a private key without a frame, whose other lines follow.
pub(super) const BARE_KEY: usize = SHAPES.len() - 1;
