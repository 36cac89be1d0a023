// Finds modules that generated code imports without the ending of their file, as bundlers do.
import { registerHooks } from "node:module";

registerHooks({
  resolve(specifier, context, next) {
    const endings = specifier.startsWith(".") ? ["", ".js", "/index.js"] : [""];
    for (const ending of endings.slice(0, -1)) {
      try {
        return next(specifier + ending, context);
      } catch {
        // the next ending
      }
    }
    return next(specifier + endings.at(-1), context);
  },
});
