// Prints what each of the suite's tests is, as one JSON array: the suite's own list, in the order in which cli.mjs runs it.
import tests from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

console.log(JSON.stringify([...tests, surrogate].flatMap(suite => suite.tests.map(test => ({
  id: test.id, suite: suite.id, kind: test.kind ?? 'required', dependsOn: test.depends_on ?? [], browserOnly: test.browser_only === true
})))))
