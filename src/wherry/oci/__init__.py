# SPDX-License-Identifier: Apache-2.0
"""The OCI image specification as frozen values: digests, platforms, references, manifests."""
