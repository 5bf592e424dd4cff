-- The edge's signed URL ({path}?expires={unix seconds}&sig={base64url of HMAC-SHA256 over "{path}:{expires}"}) for nginx and Traffic Server, as cheap as LuaJIT makes
-- it: OpenSSL through the FFI, the key schedule computed once, nothing kept per URL. Both servers have libcrypto loaded.
local ffi = require "ffi"
ffi.cdef [[
  typedef struct hmac_ctx_st HMAC_CTX;
  HMAC_CTX *HMAC_CTX_new(void);
  const void *EVP_sha256(void);
  int HMAC_Init_ex(HMAC_CTX *context, const void *key, int length, const void *digest, void *engine);
  int HMAC_Update(HMAC_CTX *context, const char *data, size_t length);
  int HMAC_Final(HMAC_CTX *context, unsigned char *mac, unsigned int *length);
  int CRYPTO_memcmp(const void *a, const void *b, size_t length);
]]
local C = ffi.C

local signature = {}

-- Returns verify(path, expires, sig, now): the status with which to refuse, or nil. decode turns base64url into bytes.
function signature.verifier(key, decode)
  local context, mac, length = C.HMAC_CTX_new(), ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
  assert(C.HMAC_Init_ex(context, key, #key, C.EVP_sha256(), nil) == 1)
  return function(path, expires, sig, now)
    if not expires or not sig or #sig ~= 43 then return 403 end
    local given, message = decode(sig), path .. ":" .. expires
    if not given or #given ~= 32 then return 403 end
    C.HMAC_Init_ex(context, nil, 0, nil, nil) -- the same key again
    C.HMAC_Update(context, message, #message)
    C.HMAC_Final(context, mac, length)
    if C.CRYPTO_memcmp(mac, given, 32) ~= 0 then return 403 end
    local time = tonumber(expires)
    if not time then return 403 end
    if now > time then return 410 end
  end
end

return signature
