# The body of scripts/test-asan and scripts/test-tsan: expects exec_preset, and the arguments for CTest.
scripts/setup
scripts/build "$exec_preset"
export TROUPE_DATA=${TROUPE_DATA:-$(realpath -m "$root/../shared/data")}
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:suppressions=$root/scripts/ubsan.supp
export LSAN_OPTIONS=suppressions=$root/scripts/lsan.supp
export TSAN_OPTIONS=suppressions=$root/scripts/tsan.supp:second_deadlock_stack=1
say "running the unit tests under $exec_preset"
ctest --test-dir "build/$exec_preset" --output-on-failure -L unit "$@"
