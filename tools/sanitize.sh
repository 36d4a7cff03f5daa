#!/usr/bin/env bash
# Build the extensions with AddressSanitizer and UndefinedBehaviorSanitizer, and run on them what reaches
# their memory: the tests of native/, the corpora and seeds of fuzz/, whole connections. Some three minutes.
#
#   tools/sanitize.sh [pytest arguments]     instead of those tests
#
# The checked build lives in build/sanitize/ beside copies of the Python files of native/; the checkout's own
# extensions stay as they are. A finding ends the run with its report and exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."
export HEADRACE_SANITIZE=address,undefined
checked=build/sanitize
mkdir -p $checked/native
cp native/*.py native/*.pyi native/py.typed $checked/native/
.venv/bin/python setup.py -q build_ext --build-lib $checked --build-temp $checked/temp

tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(
  tests/native --ignore=tests/native/test_selector.py # which judges files, not memory
  tests/test_fuzz_corpus.py tests/rtmpcore/test_{captures,connection,malformed,sessions}.py
)

# -P leaves the checkout out of the path, so that `native` is the checked one. Python's own allocator would
# hide overruns from the sanitizer, and Python itself leaks at its end. The interpreter is not built with
# it, so the runtime is loaded first.
export PYTHONPATH=$checked:. PYTHONMALLOC=malloc
# Reports go to files: pytest has the standard streams.
rm -f $checked/report.*
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$checked/report
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$checked/report
LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
export LD_PRELOAD
.venv/bin/python -P -c "import native._chunk as kernel; assert '/$checked/' in kernel.__file__, kernel.__file__"

check() { # check ARGUMENTS: of python; with the sanitizers' report if it fails
  .venv/bin/python -P "$@" && return
  LD_PRELOAD='' cat $checked/report.* 2>/dev/null || true
  exit 1
}
check -m pytest -q -p no:cacheprovider -m "not e2e and not bench" "${tests[@]}"
# What `make fuzz` has found here, led by the Python twins.
for unit in chunk connection native_diff request; do
  if [ -d build/fuzz/$unit/found ]; then check -m fuzz.engine $unit replay build/fuzz/$unit/found; fi
done
