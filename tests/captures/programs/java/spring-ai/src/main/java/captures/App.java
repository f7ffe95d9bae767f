package captures;

import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import org.springframework.ai.anthropic.AnthropicCacheOptions;
import org.springframework.ai.anthropic.AnthropicCacheStrategy;
import org.springframework.ai.anthropic.AnthropicChatModel;
import org.springframework.ai.anthropic.AnthropicChatOptions;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.messages.SystemMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.embedding.EmbeddingRequest;
import org.springframework.ai.openai.OpenAiChatModel;
import org.springframework.ai.openai.OpenAiChatOptions;
import org.springframework.ai.openai.OpenAiEmbeddingModel;
import org.springframework.ai.openai.OpenAiEmbeddingOptions;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;

/** Spring AI over OpenAI and Anthropic: called, streamed, cached, embedded, through its chat client, failed. */
@SpringBootApplication
public class App {
    static final String QUESTION = "What is the capital of France?";
    // Over the 1,024 tokens below which neither vendor caches a prompt.
    static final String MANUAL = "Answer in one word, and say please. ".repeat(130);

    public static void main(String[] args) {
        SpringApplication.exit(SpringApplication.run(App.class, args));
    }

    @Bean
    CommandLineRunner calls(
            OpenAiChatModel openai,
            AnthropicChatModel anthropic,
            OpenAiEmbeddingModel embeddings,
            ObservationRegistry registry) {
        return args -> {
            var chat = OpenAiChatOptions.builder().model("gpt-4o-mini").maxRetries(0).build();
            ask(openai, chat);
            ask(openai, chat); // the same prompt again, on purpose
            stream(openai, chat);
            stream(openai, OpenAiChatOptions.builder().model("gpt-4o-mini").streamUsage(true).build());
            askWithManual(openai, chat); // fills the cache
            askWithManual(openai, chat);
            ask(openai, OpenAiChatOptions.builder().model("gpt-5-mini").build());
            var small = OpenAiEmbeddingOptions.builder().model("text-embedding-3-small").dimensions(4).build();
            embeddings.call(new EmbeddingRequest(List.of(QUESTION), small));

            var claude = AnthropicChatOptions.builder().model("claude-haiku-4-5").maxTokens(200).build();
            ask(anthropic, claude);
            stream(anthropic, claude);
            var caching = AnthropicCacheOptions.builder().strategy(AnthropicCacheStrategy.SYSTEM_ONLY).build();
            var cached = AnthropicChatOptions.builder().model("claude-haiku-4-5").maxTokens(200).cacheOptions(caching);
            askWithManual(anthropic, cached.build()); // fills the cache
            askWithManual(anthropic, cached.build());

            var client = ChatClient.builder(openai, registry, null, null).build();
            Observation.createNotStarted("POST /orders", registry).observe(() -> {
                client.prompt(new Prompt(QUESTION, chat)).call().content();
                ask(anthropic, claude);
            });
            failNext(404);
            try {
                ask(openai, chat);
            } catch (RuntimeException expected) {
                System.err.println("as it should: " + expected);
            }
        };
    }

    static void ask(ChatModel model, ChatOptions options) {
        model.call(new Prompt(QUESTION, options));
    }

    static void askWithManual(ChatModel model, ChatOptions options) {
        model.call(new Prompt(List.of(new SystemMessage(MANUAL), new UserMessage(QUESTION)), options));
    }

    static void stream(ChatModel model, ChatOptions options) {
        model.stream(new Prompt(QUESTION, options)).blockLast();
    }

    static void failNext(int status) throws Exception {
        var body = HttpRequest.BodyPublishers.ofString("{\"next_errors\": [" + status + "]}");
        var request = HttpRequest.newBuilder(URI.create(System.getenv("PROVIDER_URL") + "/control")).POST(body).build();
        HttpClient.newHttpClient().send(request, BodyHandlers.discarding());
    }
}
