#!/usr/bin/env node
// `pnpm minke <command>`: the command line from the workspace, built first if its sources changed. Nothing but
// the command writes to standard output.

import { runApplication } from './application.mjs';
import { ensureBuilt, setUpOrExit } from './setup.mjs';

await setUpOrExit(ensureBuilt);
await runApplication(process.argv.slice(2));
