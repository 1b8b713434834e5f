// The sections and keys of every language, in the order of the files.
words! {
    common: Common { skip languages sign_out account menu footer }
    menu: Menu { fleet policy explain people audit }
    time: Time { full now minutes_ago hour_ago hours_ago days_ago minutes hours days thousands }
    message: Message {
        other_site sign_in not_granted not_found method too_large conflict too_many failed bad home
    }
    sign_in: SignInWords { title intro name password button have_code no_owner no_owner_link wrong too_many }
    join: Join {
        title title_first intro intro_first code name password hint again button
        too_short too_long too_easy not_again no_name bad_code
    }
    account: AccountWords { title role change old password again button done wrong_old }
    people: People {
        title intro name role state signed_in never waiting enabled disabled save disable enable new_code
        add_title add code_title code_text taken last_owner roles
    }
    audit: AuditWords { title intro whole broken head export when who deed before after older empty }
    explain: Explain {
        title intro name hint group at at_hint ask generation empty empty_text
        category list edition line entry one_line not_a_name not_a_time
    }
    fleet: Fleet {
        title summary empty_title empty_text join csv search show usual all sort apply
        by_urgency by_site by_seen by_generation by_lists
        site service open closed generation digest lists troubles seen never newest no_match refresh_on refresh_off
        join_title join_intro make_code code_title code_text step_1 step_2 step_3
    }
    site: Site {
        back service open closed nothing policy generation no_policy newest lists_age unknown version running seen never
        claimed standing fingerprint troubles no_troubles fix hours hours_text hour hour_none
        lists no_lists list category edition entries refused allowed counts no_counts
        pending_title pending_text approve refuse revoke revoke_title revoke_text
    }
    finding: FindingWords {
        quarantined quarantined_fix alarm alarm_fix repeats repeats_fix never never_fix other_name other_name_fix
        other_policy other_policy_fix unknown_generation unknown_generation_fix
    }
    policy: PolicyWords {
        title intro text check save discard publish note
        fit_title fit_text fit_same added_removed problems_one problems_title problems_text line lists_problem lists_help
        list category edition entries change refused age new_list same_list gone_list no_lists
        generations none_title none_text newest again again_text again_note
        files files_text files_none folder draft draft_saved draft_conflict changed_since not_published
        generation published running digest back read_only
    }
}
