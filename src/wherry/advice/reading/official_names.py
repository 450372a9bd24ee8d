# SPDX-License-Identifier: Apache-2.0
"""Which images Docker Hub has under a name of one word.

Any other name of one word is one that somebody built on his own machine, or a word that stands
there until somebody gives a better one: no registry has it, and nothing can be said of its tags.
"""

from __future__ import annotations

from typing import Final

_NAMES: Final = frozenset(
    """
    adminer almalinux alpine amazoncorretto amazonlinux archlinux arangodb bash buildpack-deps
    busybox caddy cassandra centos chronograf clojure composer consul couchbase couchdb crate dart
    debian docker drupal eclipse-mosquitto eclipse-temurin elasticsearch elixir erlang fedora flink
    fluentd gazebo gcc ghost golang gradle groovy haproxy haskell hello-world httpd ibmjava influxdb
    jenkins jetty joomla jruby julia kapacitor kibana kong logstash mageia mariadb maven mediawiki
    memcached mono mongo mongo-express mysql nats neo4j nextcloud nginx node odoo openjdk opensuse
    oraclelinux percona perl photon php phpmyadmin postgres pypy python r-base rabbitmq redis
    redmine registry rethinkdb rocket.chat rockylinux ros ruby rust sapmachine solr sonarqube spark
    storm swift tomcat tomee traefik ubuntu unit varnish vault wordpress yourls znc zookeeper
    """.split()  # noqa: SIM905 - as a list it would be five times as long
)


def may_be_there(repository: str) -> bool:
    """Whether a repository of Docker Hub (`library/golang`, `team/name`) may be one of its images.

    Those of somebody are not known, and may be.
    """
    owner, _, name = repository.partition("/")
    return owner != "library" or name in _NAMES
