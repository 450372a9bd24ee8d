# SPDX-License-Identifier: Apache-2.0
"""Advice on Dockerfiles of Go programs: rules that find what is slow, fat or wrong, and mend it.

A rule looks at a `Subject`: the Dockerfile, the build context, the Go module in it, and what is
known of the bases. It gives findings; a finding may hold a fix, which is a few edits of the text.
"""
