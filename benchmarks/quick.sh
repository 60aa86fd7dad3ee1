# Run every benchmark with --quick, and list those that fail: `make benchmarks-quick`.
# Run it in the root of the repository; $PYTHON is the interpreter, python by default.
export OMP_NUM_THREADS=1
failed=""

run() {
    echo "== $* --quick"
    start=$(date +%s)
    "${PYTHON:-python}" "$@" --quick || failed="$failed $1"
    echo "== $(($(date +%s) - start)) s"
}

for script in $(grep -l "argument_parser(__doc__" benchmarks/*.py benchmarks/papers/*.py benchmarks/published/*.py); do
    run "$script"
done
for part in steps tables serving processes memory; do
    run benchmarks/speed.py "$part"
done
if [ -n "$failed" ]; then
    echo "Failed:$failed"
    exit 1
fi
