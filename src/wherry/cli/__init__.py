# SPDX-License-Identifier: Apache-2.0
"""The command line: argv and environment to requests, events and errors to text."""
