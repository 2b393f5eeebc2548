module go-churn

go 1.19
