"""The providers that the gateway knows without being told. One entry each.

Adding one that speaks a known format is adding its entry here. What an entry
says of `stream_usage` is what the provider documents; where nothing is
documented it stays UNKNOWN, and its streams are never asked.
"""

from __future__ import annotations

from lava_grpc.providers.provider import AuthStyle, Family, Provider, Quirk, StreamUsage


def _compatible(
    ident: str,
    label: str,
    base_url: str,
    *more_hosts: str,
    price: str | None = None,
    usage: StreamUsage = StreamUsage.ASK,
    quirks: frozenset[Quirk] = frozenset(),
) -> Provider:
    """A host in OpenAI's shapes with a bearer key."""
    host = base_url.split("/")[2]
    return Provider(
        id=ident,
        label=label,
        base_url=base_url,
        hosts=(host, *more_hosts),
        price_provider=price,
        stream_usage=usage,
        quirks=quirks,
    )


_OPENAI_REGIONS = ("us", "eu", "au", "ca", "gb", "in", "jp", "kr", "sg", "ae")
_ALWAYS = StreamUsage.ALWAYS
_UNKNOWN = StreamUsage.UNKNOWN

_OWN_FORMATS = (
    Provider(
        id="openai",
        label="OpenAI",
        base_url="https://api.openai.com/v1",
        # And one for each region that data may be kept in.
        hosts=("api.openai.com", *(f"{region}.api.openai.com" for region in _OPENAI_REGIONS)),
        price_provider="openai",
        stream_usage=StreamUsage.ASK,
        quirks=frozenset((Quirk.FREE_MODERATION, Quirk.NULL_USAGE_IF_ASKED)),
    ),
    Provider(
        id="anthropic",
        label="Anthropic",
        base_url="https://api.anthropic.com/v1",
        family=Family.ANTHROPIC,
        hosts=("api.anthropic.com",),
        auth=AuthStyle.X_API_KEY,
        price_provider="anthropic",
        stream_usage=StreamUsage.ASK,
    ),
    Provider(
        id="google",
        label="Google Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        family=Family.GEMINI,
        hosts=("generativelanguage.googleapis.com",),
        auth=AuthStyle.X_GOOG_API_KEY,
        price_provider="google",
        stream_usage=StreamUsage.ASK,
        quirks=frozenset((Quirk.THINKING_IN_TOTAL,)),
    ),
    Provider(
        id="google-vertex",
        label="Google Vertex AI",
        base_url="https://aiplatform.googleapis.com/v1",
        family=Family.GEMINI,
        hosts=("aiplatform.googleapis.com",),
        host_patterns=("*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
        regional=True,
        price_provider="google",
        stream_usage=StreamUsage.ASK,
        quirks=frozenset((Quirk.THINKING_IN_TOTAL,)),
    ),
    Provider(
        id="bedrock",
        label="Amazon Bedrock",
        base_url="https://bedrock-runtime.us-east-1.amazonaws.com",
        family=Family.BEDROCK,
        host_patterns=(
            "bedrock-runtime.*.amazonaws.com",
            "bedrock-runtime-fips.*.amazonaws.com",
            "bedrock-mantle.*.api.aws",
        ),
        regional=True,
        auth=AuthStyle.AWS_SIGV4,
        price_provider="aws",
        stream_usage=StreamUsage.ASK,
    ),
    Provider(
        id="azure",
        label="Azure OpenAI",
        base_url="https://example.openai.azure.com/openai/v1",
        host_patterns=(
            "*.openai.azure.com",
            "*.cognitiveservices.azure.com",
            "*.services.ai.azure.com",
            "*.openai.azure.us",
            "*.*.models.ai.azure.com",
        ),
        auth=AuthStyle.API_KEY,
        price_provider="azure",
        # API versions before 2024-09 refuse stream_options.
        stream_usage=_UNKNOWN,
        quirks=frozenset((Quirk.FREE_MODERATION,)),
    ),
    Provider(
        id="cohere",
        label="Cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        family=Family.COHERE,
        hosts=("api.cohere.ai", "api.cohere.com"),
        price_provider="cohere",
    ),
    Provider(
        id="elevenlabs",
        label="ElevenLabs",
        base_url="https://api.elevenlabs.io/v1",
        family=Family.SPEECH,
        hosts=(
            "api.elevenlabs.io",
            "api.us.elevenlabs.io",
            "api.eu.residency.elevenlabs.io",
            "api.in.residency.elevenlabs.io",
            "api.sg.residency.elevenlabs.io",
        ),
        auth=AuthStyle.XI_API_KEY,
        price_provider="elevenlabs",
    ),
    Provider(
        id="deepgram",
        label="Deepgram",
        base_url="https://api.deepgram.com/v1",
        family=Family.SPEECH,
        hosts=("api.deepgram.com", "api.eu.deepgram.com"),
        auth=AuthStyle.TOKEN,
    ),
    Provider(
        id="assemblyai",
        label="AssemblyAI",
        base_url="https://api.assemblyai.com/v2",
        family=Family.SPEECH,
        hosts=("api.assemblyai.com", "api.eu.assemblyai.com"),
        auth=AuthStyle.RAW,
    ),
    Provider(
        id="replicate",
        label="Replicate",
        base_url="https://api.replicate.com/v1",
        family=Family.MEDIA,
        hosts=("api.replicate.com",),
    ),
    Provider(
        id="stability",
        label="Stability AI",
        base_url="https://api.stability.ai/v2beta",
        family=Family.MEDIA,
        hosts=("api.stability.ai",),
    ),
    Provider(
        id="runway",
        label="Runway",
        base_url="https://api.dev.runwayml.com/v1",
        family=Family.MEDIA,
        hosts=("api.dev.runwayml.com",),
    ),
    Provider(
        id="snowflake",
        label="Snowflake Cortex",
        base_url="https://example.snowflakecomputing.com/api/v2/cortex/v1",
        host_patterns=(
            "*.snowflakecomputing.com",
            "*.*.snowflakecomputing.com",
            "*.*.*.snowflakecomputing.com",
        ),
        stream_usage=StreamUsage.ASK,
    ),
    Provider(
        id="databricks",
        label="Databricks",
        base_url="https://example.cloud.databricks.com/serving-endpoints",
        host_patterns=(
            "*.cloud.databricks.com",
            "*.*.azuredatabricks.net",
            "*.*.gcp.databricks.com",
        ),
        price_provider="databricks",
        stream_usage=_UNKNOWN,
    ),
)

_COMPATIBLE = (
    _compatible(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "codestral.mistral.ai",
        price="mistral",
        usage=_ALWAYS,
    ),
    _compatible("deepseek", "DeepSeek", "https://api.deepseek.com/v1", price="deepseek"),
    _compatible(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "us-east-1.api.x.ai",
        "eu-west-1.api.x.ai",
        price="x-ai",
        usage=_ALWAYS,
        quirks=frozenset((Quirk.REASONING_APART,)),
    ),
    _compatible("kluster", "Kluster", "https://api.kluster.ai/v1"),
    _compatible("inference", "Inference.net", "https://api.inference.net/v1"),
    _compatible("groq", "Groq", "https://api.groq.com/openai/v1", price="groq", usage=_ALWAYS),
    _compatible("novita", "Novita", "https://api.novita.ai/v3/openai", price="novita"),
    _compatible("vercel", "v0 by Vercel", "https://api.v0.dev/v1", usage=_UNKNOWN),
    _compatible(
        "together",
        "Together",
        "https://api.together.xyz/v1",
        "api.together.ai",
        price="together",
        usage=_ALWAYS,
    ),
    _compatible("hyperbolic", "Hyperbolic", "https://api.hyperbolic.xyz/v1"),
    _compatible("sambanova", "SambaNova", "https://api.sambanova.ai/v1", usage=_ALWAYS),
    _compatible("deepinfra", "DeepInfra", "https://api.deepinfra.com/v1/openai"),
    _compatible("parasail", "Parasail", "https://api.parasail.io/v1"),
    _compatible(
        "nebius",
        "Nebius",
        "https://api.studio.nebius.com/v1",
        "api.studio.nebius.ai",
        "api.tokenfactory.nebius.com",
    ),
    _compatible(
        "fireworks",
        "Fireworks",
        "https://api.fireworks.ai/inference/v1",
        price="fireworks",
        usage=_ALWAYS,
    ),
    _compatible("embercloud", "EmberCloud", "https://api.embercloud.ai/v1", usage=_UNKNOWN),
    _compatible(
        "cerebras", "Cerebras", "https://api.cerebras.ai/v1", price="cerebras", usage=_ALWAYS
    ),
    _compatible("targon", "Targon", "https://api.targon.com/v1"),
    _compatible("gmicloud", "GMI Cloud", "https://api.gmi-serving.com/v1"),
    _compatible("chutes", "Chutes", "https://llm.chutes.ai/v1"),
    _compatible("baseten", "Baseten", "https://inference.baseten.co/v1", price="baseten"),
    _compatible(
        "moonshot",
        "Moonshot",
        "https://api.moonshot.ai/v1",
        "api.moonshot.cn",
        price="moonshotai",
        usage=_ALWAYS,
    ),
    _compatible(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "api.openrouter.ai",
        price="openrouter",
        usage=_ALWAYS,
    ),
    _compatible(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        price="perplexity",
        usage=_ALWAYS,
        quirks=frozenset((Quirk.SEARCH_PARTS_APART,)),
    ),
    _compatible("zai", "Z.ai", "https://api.z.ai/api/paas/v4", price="zai", usage=_ALWAYS),
    _compatible(
        "zhipuai",
        "Zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        price="zhipuai",
        usage=_ALWAYS,
    ),
    _compatible("ollama", "Ollama", "https://ollama.com/v1", "www.ollama.com"),
    _compatible(
        "huggingface",
        "Hugging Face",
        "https://router.huggingface.co/v1",
        quirks=frozenset((Quirk.ROUTED_BY_PATH,)),
    ),
    _compatible(
        "heroku",
        "Heroku",
        "https://us.inference.heroku.com/v1",
        "eu.inference.heroku.com",
        usage=_UNKNOWN,
    ),
    _compatible("crusoe", "Crusoe", "https://api.inference.crusoecloud.com/v1"),
    _compatible(
        "cloudflare",
        "Cloudflare",
        "https://api.cloudflare.com/client/v4/accounts/example/ai/v1",
        price="cloudflare",
        usage=_ALWAYS,
    ),
    # Its compatible endpoint names models as `provider/model`; a provider's own endpoints
    # follow the gateway's name in the path.
    _compatible(
        "cloudflare-gateway",
        "Cloudflare AI Gateway",
        "https://gateway.ai.cloudflare.com/v1/example/example/compat",
        usage=_UNKNOWN,
    ),
    _compatible(
        "github",
        "GitHub Models",
        "https://models.github.ai/inference",
        "models.inference.ai.azure.com",
    ),
    _compatible(
        "ovhcloud",
        "OVHcloud",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        price="ovhcloud",
    ),
    _compatible(
        "minimax",
        "MiniMax",
        "https://api.minimax.io/v1",
        "api.minimaxi.com",
        "api.minimax.chat",
        price="minimax",
    ),
    _compatible("voyageai", "Voyage AI", "https://api.voyageai.com/v1", price="voyageai"),
    _compatible("jina", "Jina", "https://api.jina.ai/v1"),
    _compatible(
        "alibaba",
        "Alibaba Cloud Model Studio",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "dashscope.aliyuncs.com",
        "dashscope-us.aliyuncs.com",
    ),
    _compatible("nvidia", "NVIDIA", "https://integrate.api.nvidia.com/v1"),
    _compatible("arcee", "Arcee", "https://api.arcee.ai/api/v1", price="arcee", usage=_UNKNOWN),
    _compatible("avian", "Avian", "https://api.avian.io/v1", price="avian", usage=_UNKNOWN),
    _compatible("meta", "Meta", "https://api.meta.ai/v1", "api.llama.com", price="meta"),
    _compatible("vercel-gateway", "Vercel AI Gateway", "https://ai-gateway.vercel.sh/v1"),
)

PROVIDERS: tuple[Provider, ...] = _OWN_FORMATS + _COMPATIBLE
"""Every built-in provider."""
