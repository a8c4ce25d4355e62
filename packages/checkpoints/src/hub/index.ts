export { matchesAny, usefulFiles } from './choose-files.ts';
export type { RequestOptions } from './client.ts';
export type { Digest } from './digest.ts';
export { HubError, type HubProblem } from './hub-error.ts';
export { type HubId, isCommit, isHubId, parseHubId } from './hub-id.ts';
export type { HubFile, HubListing } from './listing.ts';
export { cachedSnapshot, resolveModelPath } from './model-path.ts';
export { listModel, type PulledModel, type PullOptions, type PullProgress, pullModel } from './pull.ts';
export { type HubSettings, hubCache, hubEndpoint, hubToken, isOffline } from './settings.ts';
