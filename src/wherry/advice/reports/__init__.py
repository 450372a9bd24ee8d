# SPDX-License-Identifier: Apache-2.0
"""What was found in Dockerfiles as text for people and for programs, one file a format."""
