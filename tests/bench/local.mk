# SPDX-License-Identifier: Apache-2.0
# Measurements: run by hand, on a quiet machine. RESULTS.md has the figures.
EXTRA_DIST += %D%/lib.sh %D%/startup.sh %D%/noop.sh %D%/rerun.sh %D%/history.sh %D%/RESULTS.md
