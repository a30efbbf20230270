"""Keys of transformers, peft and TRL that Kaito's templates may hold and that change nothing here.

They are accepted so that a ConfigMap written for Kaito works unchanged, and named in the log. A key
that would change the training and is not built (deepspeed, neftune_noise_alpha, ...) is not here.
"""


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


WITHOUT_EFFECT: dict[str, frozenset[str]] = {
    # The model is always what lies in the weights folder, on the devices of the pod.
    "ModelConfig": _keys(
        "pretrained_model_name_or_path state_dict cache_dir from_tf force_download resume_download "
        "proxies output_loading_info local_files_only revision device_map max_memory "
        "offload_folder"
    ),
    "QuantizationConfig": _keys(
        "quant_method llm_int8_skip_modules llm_int8_enable_fp32_cpu_offload "
        "llm_int8_has_fp16_weight bnb_4bit_quant_storage"
    ),
    # task_type is always CAUSAL_LM, the base is always the mounted one.
    "LoraConfig": _keys(
        "peft_type auto_mapping base_model_name_or_path revision task_type inference_mode "
        "loftq_config runtime_config megatron_config megatron_core"
    ),
    # The output folder is a flag; there is one process, no checkpoint, no reporting service; the
    # types of numbers are ModelConfig's; evaluation follows from DatasetConfig.train_test_split.
    "TrainingArguments": _keys(
        "output_dir overwrite_output_dir do_train do_eval do_predict ddp_find_unused_parameters "
        "ddp_backend ddp_bucket_cap_mb ddp_broadcast_buffers ddp_timeout ddp_static_graph "
        "save_strategy save_steps save_total_limit save_safetensors save_only_model "
        "save_on_each_node evaluation_strategy eval_strategy eval_steps eval_delay "
        "eval_accumulation_steps per_device_eval_batch_size prediction_loss_only "
        "logging_dir logging_strategy logging_first_step logging_nan_inf_filter log_level "
        "log_level_replica log_on_each_node report_to run_name disable_tqdm bf16 fp16 tf32 "
        "bf16_full_eval fp16_full_eval dataloader_num_workers dataloader_pin_memory "
        "dataloader_persistent_workers dataloader_prefetch_factor dataloader_drop_last "
        "remove_unused_columns group_by_length length_column_name label_names use_cpu no_cuda "
        "local_rank push_to_hub hub_model_id hub_strategy hub_token hub_private_repo data_seed "
        "skip_memory_metrics include_num_input_tokens_seen gradient_checkpointing_kwargs "
        "torch_empty_cache_steps full_determinism use_cache ignore_data_skip "
        "load_best_model_at_end metric_for_best_model greater_is_better "
        "auto_find_batch_size"
    ),
    "DataCollator": _keys(
        "mlm mlm_probability pad_to_multiple_of return_tensors tf_experimental_compile"
    ),
    # The data is what lies in the data folder.
    "DatasetConfig": frozenset(["dataset_path", "dataset_extension"]),
}
