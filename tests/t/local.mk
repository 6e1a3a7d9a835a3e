# SPDX-License-Identifier: Apache-2.0
# End to end, numbered by layer so that the first failure is the most basic one.
