//! A list of figures: from names, kinds and what each says come the figures of a core, their totals
//! over many cores, and what is published of them.

/// The figures of a core, with their totals: those of `list`, after those of another such type where
/// one is given. What is `unpublished` is neither described nor read nor added up.
macro_rules! figures {
    (
        $(#[$attribute:meta])*
        struct $stats:ident $(: $base:ident)?;
        totals $totals:ident $(: $base_totals:ident)?;
        list { $($(#[doc = $help:literal])+ $name:ident: $kind:ident,)* }
        $(unpublished { $($(#[doc = $doc:literal])+ $other:ident: $other_kind:ident,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $stats {
            $(
                /// Those of both ends.
                pub common: $base,
            )?
            $($(#[doc = $help])+ pub $name: $kind,)*
            $($($(#[doc = $doc])+ pub $other: $other_kind,)*)?
        }

        impl $stats {
            /// Nothing is counted yet.
            #[must_use]
            pub fn new() -> $stats {
                use $crate::observe::stats::figure::Figure;
                $stats {
                    $(common: $base::new(),)?
                    $($name: <$kind as Figure>::new(),)*
                    $($($other: <$other_kind as Figure>::new(),)*)?
                }
            }
        }

        impl Default for $stats {
            fn default() -> $stats {
                $stats::new()
            }
        }

        impl $crate::observe::stats::figure::Listed for $stats {
            fn descriptions()
            -> impl Iterator<Item = &'static $crate::observe::stats::figure::Description> {
                use $crate::observe::stats::figure::{Description, Figure};
                const LIST: &[Description] = &[$(Description {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii_start(),
                    kind: <$kind as Figure>::KIND,
                },)*];
                let all = LIST.iter();
                $(let all = $base::descriptions().chain(all);)?
                all
            }

            fn readings(
                &self,
            ) -> impl Iterator<Item = $crate::observe::stats::figure::Reading<'_>> {
                use $crate::observe::stats::figure::Figure;
                let all = [$(self.$name.reading(),)*].into_iter();
                $(let all = $base::readings(&self.common).chain(all);)?
                all
            }
        }

        $(
            impl std::ops::Deref for $stats {
                type Target = $base;

                fn deref(&self) -> &$base {
                    &self.common
                }
            }
        )?

        /// The figures of many cores together at one time, or how much they rose between two.
        /// Gauges are what they are now.
        #[derive(Clone, Debug)]
        pub struct $totals {
            $(
                /// Those of both ends.
                pub common: $base_totals,
            )?
            $(
                $(#[doc = $help])+
                pub $name: <$kind as $crate::observe::stats::figure::Figure>::Total,
            )*
        }

        impl $totals {
            /// Of all `cores`, as they stand now.
            #[must_use]
            pub fn of<'a>(cores: impl Iterator<Item = &'a $stats> + Clone) -> $totals {
                use $crate::observe::stats::figure::Figure;
                $totals {
                    $(common: $base_totals::of(cores.clone().map(|core| -> &$base { core })),)?
                    $($name: <$kind as Figure>::total(cores.clone().map(|core| &core.$name)),)*
                }
            }

            /// What has been counted since `before`.
            #[must_use]
            pub fn since(&self, before: &$totals) -> $totals {
                use $crate::observe::stats::figure::Figure;
                $totals {
                    $(common: $base_totals::since(&self.common, &before.common),)?
                    $($name: <$kind as Figure>::since(&self.$name, &before.$name),)*
                }
            }
        }

        $(
            impl std::ops::Deref for $totals {
                type Target = $base_totals;

                fn deref(&self) -> &$base_totals {
                    &self.common
                }
            }
        )?
    };
}

pub(super) use figures;
