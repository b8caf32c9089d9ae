// What `cargo test` prints is counted rightly: the last line of `npm test` depends on it.
import { expect, test } from "vitest";
import { countTests, failedParts } from "./rust-tests.mjs";

const OUTPUT = `
     Running unittests src/lib.rs
running 3 tests
test domain::a ... ok
test domain::b ... FAILED
test storage::c - should panic ... ok

failures:

---- domain::b stdout ----
thread 'domain::b' panicked at src/domain.rs:1:1:
left != right

failures:
    domain::b

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/it/main.rs
test result: ok. 40 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3.00s
`;

test("passed and failed tests of all targets are counted", () => {
  expect(countTests(OUTPUT)).toEqual({ passed: 42, failures: [{ name: "domain::b" }] });
  expect(countTests("error[E0308]: mismatched types")).toEqual({ passed: 0, failures: [] });
});

test("of a failure the reason is shown, not the list of what went well", () => {
  expect(failedParts(OUTPUT)).toContain("left != right");
  expect(failedParts(OUTPUT)).not.toContain("domain::a");
  expect(failedParts("error[E0308]: mismatched types")).toContain("E0308");
});
