# SPDX-License-Identifier: Apache-2.0
"""The small files of /etc in the composed base: accounts, names of ports and protocols.

A static Go program asks these files where a libc would be asked elsewhere: package `net` looks up
ports and protocols, `os/user` the accounts, the resolver the order in nsswitch.conf.
"""

from __future__ import annotations

from typing import Final

from wherry.fstree.tree import Directory, Entry, File, Inline

ROOT: Final = 0
NONROOT: Final = 65532
NOBODY: Final = 65534

# name, user and group id, home
_ACCOUNTS: Final = (
    ("root", ROOT, "/root"),
    ("nobody", NOBODY, "/nonexistent"),
    ("nonroot", NONROOT, "/home/nonroot"),
)

# name, number, aliases (IANA, "Assigned Internet Protocol Numbers")
_PROTOCOLS: Final = (
    ("ip", 0, "IP"),
    ("icmp", 1, "ICMP"),
    ("igmp", 2, "IGMP"),
    ("tcp", 6, "TCP"),
    ("udp", 17, "UDP"),
    ("gre", 47, "GRE"),
    ("esp", 50, "IPSEC-ESP"),
    ("ah", 51, "IPSEC-AH"),
    ("ipv6-icmp", 58, "IPv6-ICMP"),
    ("sctp", 132, "SCTP"),
)

# name, port, transports, aliases (IANA, "Service Name and Transport Protocol Port Number Registry")
_SERVICES: Final = (
    ("echo", 7, "tcp udp", ""),
    ("discard", 9, "tcp udp", "sink null"),
    ("daytime", 13, "tcp", ""),
    ("ftp-data", 20, "tcp", ""),
    ("ftp", 21, "tcp", ""),
    ("ssh", 22, "tcp", ""),
    ("telnet", 23, "tcp", ""),
    ("smtp", 25, "tcp", "mail"),
    ("time", 37, "tcp udp", "timserver"),
    ("whois", 43, "tcp", "nicname"),
    ("domain", 53, "tcp udp", ""),
    ("bootps", 67, "udp", ""),
    ("bootpc", 68, "udp", ""),
    ("tftp", 69, "udp", ""),
    ("http", 80, "tcp", "www"),
    ("kerberos", 88, "tcp udp", "kerberos5 krb5"),
    ("pop3", 110, "tcp", "pop-3"),
    ("sunrpc", 111, "tcp udp", "portmapper"),
    ("ntp", 123, "udp", ""),
    ("imap2", 143, "tcp", "imap"),
    ("snmp", 161, "tcp udp", ""),
    ("snmp-trap", 162, "tcp udp", "snmptrap"),
    ("bgp", 179, "tcp", ""),
    ("ldap", 389, "tcp udp", ""),
    ("https", 443, "tcp udp", ""),
    ("submissions", 465, "tcp", "smtps"),
    ("syslog", 514, "udp", ""),
    ("submission", 587, "tcp", ""),
    ("ldaps", 636, "tcp udp", ""),
    ("domain-s", 853, "tcp udp", ""),
    ("rsync", 873, "tcp", ""),
    ("imaps", 993, "tcp", ""),
    ("pop3s", 995, "tcp", ""),
    ("socks", 1080, "tcp", ""),
    ("ms-sql-s", 1433, "tcp", ""),
    ("radius", 1812, "udp", ""),
    ("radius-acct", 1813, "udp", "radacct"),
    ("mqtt", 1883, "tcp", ""),
    ("nfs", 2049, "tcp udp", ""),
    ("mysql", 3306, "tcp", ""),
    ("sip", 5060, "tcp udp", ""),
    ("sip-tls", 5061, "tcp udp", ""),
    ("xmpp-client", 5222, "tcp", "jabber-client"),
    ("xmpp-server", 5269, "tcp", "jabber-server"),
    ("mdns", 5353, "udp", ""),
    ("postgresql", 5432, "tcp", "postgres"),
    ("amqps", 5671, "tcp", ""),
    ("amqp", 5672, "tcp", ""),
    ("redis", 6379, "tcp", ""),
    ("http-alt", 8080, "tcp udp", "webcache"),
    ("secure-mqtt", 8883, "tcp", ""),
)

_OS_RELEASE: Final = """\
ID=wherry-static
NAME="wherry static"
PRETTY_NAME="wherry static base"
"""


def etc_entries() -> tuple[Entry, ...]:
    """All of /etc but the certificates."""
    return (
        Directory("etc"),
        _text("etc/group", "".join(f"{name}:x:{number}:\n" for name, number, _ in _ACCOUNTS)),
        _text("etc/nsswitch.conf", "hosts: files dns\n"),
        _text("etc/os-release", _OS_RELEASE),
        _text("etc/passwd", "".join(_passwd_line(*account) for account in _ACCOUNTS)),
        _text("etc/protocols", "".join(_protocol_line(*item) for item in _PROTOCOLS)),
        _text("etc/services", "".join(_service_lines(*item) for item in _SERVICES)),
    )


def _text(path: str, text: str) -> File:
    return File(path, Inline(text.encode()))


def _passwd_line(name: str, number: int, home: str) -> str:
    return f"{name}:x:{number}:{number}:{name}:{home}:/sbin/nologin\n"


def _protocol_line(name: str, number: int, aliases: str) -> str:
    return f"{name}\t{number}\t{aliases}\n"


def _service_lines(name: str, port: int, transports: str, aliases: str) -> str:
    return "".join(
        f"{name}\t{port}/{transport}\t{aliases}".rstrip() + "\n" for transport in transports.split()
    )
