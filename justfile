# What developers run is what CI runs.

# Everything a change has to pass; installs what is missing.
check:
  .ci/run

# Fast feedback: types, lints, house rules.
quick:
  cargo fmt --check
  cargo clippy --all-targets -- -D warnings
  cargo test --test tidy

test *filter:
  cargo test --release {{filter}}

# A hundred rounds of kill -9 and of power cuts (as root), 600 damaged directories, a million new series.
faults rounds="100":
  FAULT_ROUNDS={{rounds}} cargo test --release --test faults -- --nocapture

bench *filter:
  cargo bench {{filter}}

coverage:
  cargo llvm-cov --release --lcov --output-path target/lcov.info

deny:
  cargo deny check

dist target="x86_64-unknown-linux-musl":
  cargo build --locked --profile dist --target {{target}}
