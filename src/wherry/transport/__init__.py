# SPDX-License-Identifier: Apache-2.0
"""HTTP for registries: certificates, proxies, retries, redirects, and answers of bounded size."""
