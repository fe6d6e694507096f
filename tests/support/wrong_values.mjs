// SPDX-License-Identifier: Apache-2.0
// Values that are none of a type, as JSON has them and as a query does.

/** Values that are none of the type, by the type that a schema names. */
const wrong = {
  string: [7, true, [], {}, 'a\0b'],
  integer: ['x', 1.5, true, [], {}, 1e300],
  number: ['x', true, [], {}],
  boolean: ['x', 1, [], {}],
  array: ['x', 1, {}, [1], [['x']], ['a\0b']],
  object: ['x', 1, [], {a: 1}, {a: {}}],
};

/** The types of a schema but null. */
export const typesOf = (schema) => [schema.type ?? []].flat().filter((type) => type !== 'null');

/** Of a field of a JSON body. */
export function wrongFor(field, types = typesOf(field)) {
  let values = types.length > 1 ? [true, [], {}] : wrong[types[0]];
  // Described by its own words: only what it is not.
  if (types[0] === 'object' && field.additionalProperties === undefined) values = ['x', 1, []];
  if (field.minimum !== undefined) values = [...values, field.minimum - 1];
  if (field.maximum !== undefined && field.maximum < 2 ** 52) values = [...values, field.maximum + 1];
  return values;
}

const NUMBERS = ['x', 'NaN', 'nan', 'Infinity', 'inf', '1e', '0x10', '+1', '%201', '1%20', '1,5', '99999999999999999999999',
                 '9'.repeat(400), '-99999999999999999999'];
const UNREADABLE = ['%00', 'a%00b', '%zz', '%', '%f'];
const NO_TEXT = ['%ff', 'a%c3', '%ed%a0%80', '%f8%88%80%80%80'];

/** Of a parameter of a query, as they stand in it. `schema` of one that is JSON is that of its content. */
export function wrongInQuery(parameter) {
  const json = parameter.content?.['application/json']?.schema;
  if (json) return [...UNREADABLE, ...NO_TEXT, '{', '[]', '5', '"x"', 'null', '{"a":1}', '{"a":"b"}x'].map((one) => one.replaceAll('"', '%22'));
  const {schema} = parameter;
  const [type] = typesOf(schema);
  const values = [...UNREADABLE, ...NO_TEXT];
  if (type === 'integer' || type === 'number') values.push(...NUMBERS);
  if (type === 'integer') values.push('1.5', '1e3');
  if (type === 'boolean') values.push('no', 'yes', '2', '-1', 'TRUE', 'null', 'x'.repeat(9000));
  if (schema.enum) values.push('other', 'x'.repeat(9000), String(schema.enum[0]).toUpperCase());
  if (schema.minimum !== undefined) values.push(String(schema.minimum - 1));
  if (schema.maximum !== undefined && schema.maximum < 2 ** 52) values.push(String(schema.maximum + 1));
  return values;
}
