// SPDX-License-Identifier: Apache-2.0
// What @cloudflare/sandbox needs of its own platform before Node.js can load it: a module that exists there alone, and
// imports without an extension in one of its dependencies. The package itself stays as it is.

const WORKERS = `
  export class RpcTarget {}
  export class DurableObject {}
  export class WorkerEntrypoint {}
  export const env = {};
  export const tracing = {enterSpan: (name, work, ...rest) => work({setAttribute() {}}, ...rest)};
`;

export async function resolve(specifier, context, next) {
  if (specifier === 'cloudflare:workers') {
    return {url: `data:text/javascript,${encodeURIComponent(WORKERS)}`, shortCircuit: true};
  }
  const containers = context.parentURL?.includes('/@cloudflare/containers/');
  const bare = specifier.startsWith('.') && !/\.\w+$/.test(specifier);
  return next(containers && bare ? `${specifier}.js` : specifier, context);
}
